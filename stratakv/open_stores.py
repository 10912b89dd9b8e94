"""The stores that this process has open: one for each directory, however many handles share it.

Handles that only read have another one than those that write.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stratakv.arguments import absolute
from stratakv.directory import Directory
from stratakv.errors import OptionError, StoreBusyError, StrataKVError, reported
from stratakv.files import Files
from stratakv.forks import in_each_child, notice
from stratakv.options import Options
from stratakv.store import Identity, Store

logger = logging.getLogger("stratakv")

_stores: dict[Identity, Store] = {}
_opening = threading.RLock()
_under_way: set[tuple[int, int]] = set()  # directories that are being opened or closed, by who has `_opening`


def acquire(path: str | os.PathLike[str], options: Options) -> Store:
    """Return this process's store for `path`, opened by the first handle that asks for it."""
    notice()
    directory = Directory(absolute(path), Files(), options.mode)
    with _opening, reported(directory.path):
        directory.enter(create=options.create and not options.read_only)
        found = directory.files.stat(directory.path)
        identity = (found.st_dev, found.st_ino, options.read_only)
        store = _stores.get(identity)
        if store and not store.structure.in_place():
            # Its files were removed, and the directory is still there, or another one has got its number. It
            # is not what is there now, and goes with its last handle.
            store.identity = (0, id(store), options.read_only)
            _stores[store.identity] = _stores.pop(identity)
            store = None
        if store is None:
            with _alone(identity, directory.path):
                store = _stores[identity] = Store(directory, options, identity)
        elif differing := store.options.differing(options):
            raise OptionError(
                f"{directory.path} is already open in this process with another {', '.join(differing)}; "
                "use the same options, or close it first"
            )
        store.users += 1
        return store


def release(store: Store) -> None:
    """Give a handle's share back; the last one closes the store."""
    notice()
    with _opening:
        if store.users > 1:
            store.users -= 1
            return
        with _alone(store.identity, store.directory.path):
            store.users = 0
            del _stores[store.identity]
            store.close()


@contextmanager
def _alone(identity: Identity, path: Path) -> Iterator[None]:
    """Raise StoreBusyError in a signal handler that has interrupted this: it would wait for itself."""
    place = identity[:2]
    if place in _under_way:
        raise StoreBusyError(f"{path} is just being opened or closed by this very thread")
    try:
        _under_way.add(place)
        yield
    finally:
        _under_way.discard(place)


def _before_fork() -> None:
    notice()
    # No store may be half open in the child, which has none of the threads that could finish it.
    _opening.acquire()


def _after_fork_in_parent() -> None:
    _opening.release()


def _after_fork_in_child() -> None:
    global _opening
    _opening = threading.RLock()
    _under_way.clear()
    for store in list(_stores.values()):
        store.forked()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
in_each_child(_after_fork_in_child)


def _close_all() -> None:
    """At the end of the process: sync what is not synced, and leave every store sealed."""
    notice()
    for store in list(_stores.values()):
        try:
            store.close()
        except StrataKVError:
            logger.exception("%s could not be closed cleanly", store.directory.path)
    _stores.clear()


atexit.register(_close_all)
