"""The stores this process has in use, one `Store` for each directory and set of options.

Django makes a backend object per thread, or per request under ASGI, and closes it after each request. Both
are free here: the objects share a `Store`, which is opened at its first use and stays open until the
process ends.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

import stratakv
from stratakv_django.census import Census
from stratakv_django.incidents import Incidents
from stratakv_django.interruptions import is_from_a_signal

# An opening that took more than _SLOW seconds to fail is not tried again for _REST times as long as it took.
_SLOW, _REST = 0.1, 10
LOOK_INTERVAL = 1.0  # seconds between two looks whether the directory is still there
RESCUE_INTERVAL = 60.0  # seconds between two attempts of a process to rescue a store; it may read all of it

_logger = logging.getLogger("stratakv_django")


class Store:
    """A store directory as this process sees it. `handle` is the open store, None before the first use."""

    def __init__(self, path: str, options: stratakv.Options) -> None:
        self.path = path
        self.options = options
        self.handle: stratakv.DB | None = None
        self.begin_process()

    def begin_process(self) -> None:
        """Begin what belongs to one process: counts, and locks that a thread may have held at a fork."""
        self.incidents = Incidents(self.path)
        self._censuses: dict[bytes, Census] = {}
        # A signal handler, or one of what is logged here, may use the cache in the midst of it.
        self._opening = threading.RLock()
        self._is_opening = False
        self._next_look = 0.0
        self._next_rescue = 0.0
        self._refused: Exception | None = None
        self._next_try = 0.0

    def open(self, *, rescue: bool = False) -> stratakv.DB:
        """Open the store, unless it is open, and return it as `handle`.

        rescue: where it is damaged so that it does not open, recover it or begin an empty one in its place.
        Raises ImproperlyConfigured if it is open with other options, else StrataKVError or OSError.
        """
        with self._opening:
            if self._is_opening:
                raise stratakv.StoreBusyError(f"{self.path} is just being opened by this very thread")
            if self.handle is None:
                self._refuse_again()
                self._is_opening = True
                try:
                    self.handle = self._open_or_note(rescue=rescue)
                finally:
                    self._is_opening = False
            return self.handle

    def _open_or_note(self, *, rescue: bool) -> stratakv.DB:
        """Open the store, or take note of an error that was long in coming."""
        began = time.monotonic()
        try:
            return self._open_or_rescue(rescue=rescue)
        except (stratakv.StrataKVError, OSError) as error:
            took = time.monotonic() - began
            if took > _SLOW and not is_from_a_signal(error):
                self._refused, self._next_try = copy(error), began + (1 + _REST) * took
            raise

    def _refuse_again(self) -> None:
        """Raise what opening has failed with, if that took long and not long ago: a site must go on."""
        if self._refused is not None and time.monotonic() < self._next_try:
            raise copy(self._refused)  # without the frames, which would keep files open

    def _open_or_rescue(self, *, rescue: bool) -> stratakv.DB:
        try:
            return self._open()
        except (stratakv.CorruptionError, stratakv.DirectoryError) as damage:
            is_removed = isinstance(damage, stratakv.RemovedError)  # just now: there is nothing to rescue
            if not rescue or is_removed or not self._rescue(damage):
                raise
        return self._open()

    def _open(self) -> stratakv.DB:
        try:
            return stratakv.open(self.path, **dataclasses.asdict(self.options))
        except stratakv.OptionError as error:
            raise ImproperlyConfigured(f"CACHES: the store {self.path}: {error}") from error

    def _rescue(self, damage: stratakv.StrataKVError) -> bool:
        """Return whether it is worth opening the store again."""
        now = time.monotonic()
        if self.options.read_only or now < self._next_rescue:
            return False
        self._next_rescue = now + RESCUE_INTERVAL
        try:
            done = stratakv.rescue(self.path)
        except (stratakv.StrataKVError, OSError) as refusal:
            if is_from_a_signal(refusal):
                raise
            if str(refusal) != str(damage):
                damage.add_note(f"It was not rescued: {refusal}")
            return False
        self._tell(done)
        return True

    def _tell(self, done: stratakv.RescueReport) -> None:
        if done.set_aside:
            _logger.error(
                "%s could not be opened: %s. The old cache is now in %s, and an empty one took its place. "
                "To read what is left of it, run `python -m stratakv recover --mode salvage %s`. It is not "
                "deleted by itself, and does not count in max_bytes: delete it when you are done.",
                self.path,
                done.reason,
                done.set_aside,
                done.set_aside,
            )
        elif done.recovery:
            kept = done.recovery.lost_found or ""
            _logger.error(
                "%s could not be opened: %s. It was recovered, and no entry was lost%s.",
                self.path,
                done.reason,
                kept and f"; damaged files are in {self.path}/{kept}",
            )

    @contextmanager
    def briefly(self, *, read_only: bool) -> Iterator[stratakv.DB]:
        """Open the store for a command: the handle that is open already, else one that ends with the block.

        read_only: it only looks, which a user may do who may not write. Raises StrataKVError or OSError.
        """
        if self.handle is not None:  # called by a process of the site, which can't open it in two ways
            yield self.handle
            return
        # "manual": a command that is over in a moment should neither start a process for the maintenance nor
        # end one that has just begun; and what stratakv_compact does, no other process need do.
        options = {**dataclasses.asdict(self.options), "maintenance": "manual"}
        if read_only:
            options["read_only"] = True
        with stratakv.open(self.path, **options) as handle:
            yield handle

    def census(self, namespace: bytes) -> Census:
        """Return the count of the entries under `namespace`."""
        return self._censuses.get(namespace) or self._censuses.setdefault(namespace, Census(namespace))

    def look(self) -> None:
        """Do `renew` if nobody did so just now: for the end of each request."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self.renew()

    def renew(self) -> None:
        """Close the store if somebody has removed or replaced its files: the next use opens what is there."""
        handle = self.handle
        try:
            if handle is None or handle.in_place():
                return
        except stratakv.ClosedError:  # by another thread, which was faster
            return
        with self._opening:
            if self.handle is not handle:  # another thread was faster
                return
            self.handle = None
        _logger.warning("%s was removed or replaced while it was open: it is opened anew", self.path)
        with suppress(stratakv.StrataKVError, OSError):
            handle.close()

    def close(self) -> None:
        """Close the store; the next use opens it again."""
        handle, self.handle = self.handle, None
        if handle is not None:
            with suppress(stratakv.RemovedError):  # nothing is left to be synced
                handle.close()


class MisconfiguredStore(Store):
    """What stands in for the store of an alias whose settings are wrong: every use raises `error`."""

    def __init__(self, error: ImproperlyConfigured) -> None:
        super().__init__("", stratakv.Options())
        self._error = error

    def open(self, *, rescue: bool = False) -> stratakv.DB:
        raise self._error


_stores: dict[tuple[str, stratakv.Options], Store] = {}


def store(path: str, options: stratakv.Options) -> Store:
    """Return this process' Store for an absolute path and the options it is opened with."""
    return _stores.get((path, options)) or _stores.setdefault((path, options), Store(path, options))


def close_all() -> None:
    """Close every store that is open, before its directory is moved, say; the next use opens it again."""
    with ExitStack() as every:  # also where one cannot be synced
        for each in list(_stores.values()):
            every.callback(each.close)


@receiver(setting_changed)
def _begin_anew(*, setting: str, **kwargs: Any) -> None:
    """In tests, settings may change while the process runs, and directories come and go between them."""
    if setting == "CACHES":
        close_all()


def _after_fork() -> None:
    for each in _stores.values():
        each.begin_process()


os.register_at_fork(after_in_child=_after_fork)
