"""The public handle: what a program sees of a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar, overload

from stratakv import scan, stats
from stratakv.arguments import Value, check_key, seconds_left
from stratakv.backup import BackupReport, backup
from stratakv.errors import ClosedError, KeyNotFoundError, ReadOnlyError, reported
from stratakv.key_lock import Lock
from stratakv.maintenance.compaction import CompactionReport
from stratakv.maintenance.early_end import StoppedError
from stratakv.maintenance.work import MaintenanceReport
from stratakv.open_stores import acquire, release
from stratakv.options import Options
from stratakv.progress import Progress, apart, untold
from stratakv.reader import Reader
from stratakv.repair import Repair
from stratakv.stats import Stats
from stratakv.store import Store
from stratakv.transaction import Transaction
from stratakv.verify import VerifyReport, verify
from stratakv.writer import Writer

T = TypeVar("T")


class DB:
    """One handle on a store: safe for threads, forks and many processes; a context manager.

    Keys are bytes of 1 to 65,535 bytes, values bytes-like; `ttl` is in seconds, None for ever. Every
    method raises a `StrataKVError`: InvalidKeyError, InvalidValueError and InvalidTTLError for bad
    arguments, ClosedError after `close`, ReadOnlyError for writes through a read-only handle,
    StorageError where the file system refuses.
    """

    def __init__(self, path: str | os.PathLike[str], options: Options) -> None:
        store = acquire(path, options)
        self._store = store  # until it is closed
        self._path = store.directory.path
        self._options = options
        self._closed = False
        # Bound straight to the reader and the writer: a wrapper around each would cost 4 % of a get.
        self.get = store.reader.get  # type: ignore[method-assign]
        if not options.read_only:
            self.put = store.writer.put  # type: ignore[method-assign]

    @property
    def path(self) -> Path:
        """The directory of the store."""
        return self._path

    # -- what may be used now ----------------------------------------------------------------------------

    @property
    def _open_store(self) -> Store:
        try:
            return self._store
        except AttributeError:  # not asked first: another thread may close it at any moment
            self._refuse()

    @property
    def _writable(self) -> Store:
        if self._options.read_only:
            self._refuse()
        return self._open_store

    @property
    def _reader(self) -> Reader:
        return self._open_store.reader

    @property
    def _writer(self) -> Writer:
        return self._writable.writer

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        if self._closed:
            raise ClosedError(f"this handle on {self.path} was closed; open the store again")
        raise ReadOnlyError(f"{self.path} was opened with read_only=True, and cannot be written to")

    # -- one key -----------------------------------------------------------------------------------------

    @overload
    def get(self, key: bytes) -> bytes | None: ...
    @overload
    def get(self, key: bytes, default: T) -> bytes | T: ...
    def get(self, key: bytes, default: Any = None) -> Any:
        """Return the value of `key`, or `default` where it is missing, deleted or expired.

        A record that fails its checksum reads as missing; it is logged and counted in `stats()`.
        """
        self._refuse()  # pragma: no cover: each handle has a `get` of its own, see above

    def put(self, key: bytes, value: Value, ttl: float | None = None) -> None:
        """Set `key` to `value`, to expire after `ttl` seconds."""
        self._refuse()

    def delete(self, key: bytes) -> bool:
        """Delete `key`; return whether it was there."""
        return self._writer.delete(key)

    def __contains__(self, key: bytes) -> bool:
        return self._reader.contains(key)

    def add(self, key: bytes, value: Value, ttl: float | None = None) -> bool:
        """Set `key` only where it is missing or expired; return whether it was set. Atomic."""
        return self._writer.add(key, value, ttl)

    def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give `key` a new time to live, None for ever; return whether it was there. Atomic."""
        return self._writer.touch(key, ttl)

    def ttl(self, key: bytes) -> float | None:
        """Return the seconds `key` has left, None for ever; raises KeyNotFoundError where it is missing."""
        expiry = self._reader.expiry(key)
        if expiry is None:
            raise KeyNotFoundError(key)
        return seconds_left(expiry)

    def incr(self, key: bytes, delta: int = 1) -> int:
        """Add `delta` to the decimal number at `key` and return the sum. Atomic.

        A missing key counts as 0; the time to live stays as it is. Raises InvalidValueError where the
        value is no whole number.
        """
        return self._writer.incr(key, delta)

    def update(self, key: bytes, change: Callable[[bytes], Value]) -> bytes | None:
        """Set `key` to what `change` makes of its value, and return that; None where it is missing. Atomic.

        The time to live stays as it is. change: must not use the store; it is called once more where another
        writer came first. What it raises leaves everything as it was.
        """
        return self._writer.update(key, change)

    # -- many keys ---------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values of those `keys` that are there, all as of one moment: no batch in part."""
        return self._reader.get_many(keys)

    def put_many(self, mapping: Mapping[bytes, Value], ttl: float | None = None) -> None:
        """Set all keys of `mapping` as one atomic batch: after a crash all are there, or none."""
        self._writer.put_many(mapping, ttl)

    def delete_many(self, keys: Iterable[bytes]) -> int:
        """Delete `keys` as one atomic batch; return how many were there."""
        return self._writer.delete_many(keys)

    def delete_prefix(self, prefix: bytes) -> None:
        """Delete every key that begins with `prefix`, at once whatever their number.

        Their space is given back in the background where all of a segment goes, and else when it is merged
        next, or by `compact`.
        """
        self._writer.delete_prefix(prefix)

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        """Yield the live keys that begin with `prefix`, oldest written first; compaction sorts them by key.

        What others write meanwhile may or may not be seen. Values are not read.
        """
        return self._reader.keys(prefix)

    def scan(
        self, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in key order: keys that begin with `prefix`, from `start` up to before `stop`.

        The scan shows the store as it was when it began, whatever is written meanwhile. A damaged record is
        left out, as `get` misses it; it is logged and counted in `stats()`.
        """
        store = self._open_store
        return scan.scan(store.snapshots, prefix, start, stop, store.reader.report_damage)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Return a context manager that keeps all other writers out, in every process.

        What it writes becomes one atomic batch at the end; an exception discards it all. Keep it short.
        """
        return self._writer.transaction()

    def lock(self, key: bytes) -> Lock:
        """Return a lock that only one thread of all processes can hold, for work that should be done once.

        It keeps nobody from reading or writing `key`, which need not be there. See `Lock`.
        """
        check_key(key)
        store = self._writable
        store.structure.check_in_place()
        return Lock(store.directory, key)

    # -- the whole store ---------------------------------------------------------------------------------

    def in_place(self) -> bool:
        """Whether the store is still at its path. Where somebody has removed or replaced its files, others no
        longer see what is written here: `close` this one and open the store again.
        """
        return self._open_store.structure.in_place()

    def sync(self) -> None:
        """Return once all that is committed is on disk; raises SyncError where it cannot be."""
        self._open_store.syncer.everything()

    def clear(self) -> None:
        """Delete everything, at once whatever the size."""
        self._writer.clear()

    def compact(self, progress: Progress | None = None) -> CompactionReport:
        """Merge segments until each live key is there once: all into one or, in a store with a budget, into
        some of the size and the age by which it evicts.

        Runs in this thread; everybody else reads and writes on. A second compaction waits for the first.
        progress: is told bytes done and bytes in all. Raises CorruptionError where a log is damaged.
        """
        with apart(progress or untold) as told:
            return self._writable.maintenance.compact(told)

    def maintain(self, linger: float = 0.0, stop: Callable[[], bool] = lambda: False) -> MaintenanceReport:
        """Do the maintenance that is due: finish indexes, merge, evict, drop what is dead.

        Runs in this thread, for those who opened the store with maintenance="manual"; otherwise a process
        in the background does it. linger: go on for so many seconds after the last work, for what becomes
        due meanwhile; math.inf goes on until it is stopped. stop: asked many times a second; once it is true,
        the task at hand is given up. Raises CorruptionError where a log is damaged.
        """
        with apart(stop) as is_stopped:

            def pace(read: int) -> None:
                if is_stopped():
                    raise StoppedError

            return self._writable.maintenance.run(linger, pace)

    def stats(self) -> Stats:
        """Return figures about the store, see `Stats`."""
        return stats.collect(self._open_store)

    def verify(self, progress: Progress | None = None, *, repair: bool = False) -> VerifyReport:
        """Check every file of the store, while others read and write.

        repair: mend what can be mended, see `stratakv.repair`. What cannot be, stays in `damage`.
        """
        with apart(progress or untold) as told:
            if not repair:
                return verify(self._open_store.snapshots, told)
            store = self._writable
            mending = Repair(store.structure, store.committer, store.snapshots, store.syncer.reach_tip)
            with reported(self.path), store.maintenance.elected():
                return mending.run(told)

    def backup(self, path: str | os.PathLike[str], progress: Progress | None = None) -> BackupReport:
        """Copy the store as it is now to `path`, a new or empty directory, while others read and write.

        Raises CorruptionError where a record is damaged: `verify` with `repair` first.
        """
        store = self._open_store
        with apart(progress or untold) as told:
            return backup(store.snapshots, path, store.options.segment_bytes, told)

    def close(self) -> None:
        """Give the handle back; the store closes with its last one. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self.get = self._refuse  # type: ignore[method-assign]
            self.put = self._refuse  # type: ignore[method-assign]
            store = self._store
            del self._store  # and with it the maps, once nothing else uses the store
            release(store)

    def __enter__(self) -> DB:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[DB], tuple[Path, Options]]:
        """Pickle it as what opens the store: whoever is handed this handle gets one of their own."""
        if self._closed:
            self._refuse()
        return type(self), (self._path, replace(self._options, create=False))

    def __repr__(self) -> str:
        state = "closed" if self._closed else str(self._options.durability)
        return f"<stratakv.DB {str(self.path)!r} ({state})>"
