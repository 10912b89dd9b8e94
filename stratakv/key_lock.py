"""Locks on keys: what only one thread of all processes should do at a time, others wait for.

A lock is one byte of `keys.lock`, an empty file, at the place that the first half of the key's hash names.
It belongs to an open file of its own (`fcntl`, F_OFD_SETLK), so that threads exclude each other as processes
do, and the kernel frees it when its process ends.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from weakref import WeakSet

from stratakv.backoff import pauses
from stratakv.directory import Directory
from stratakv.errors import LockError, reported
from stratakv.forks import in_each_child, notice
from stratakv.index import hash_key
from stratakv.open_file import OpenFile

_SHOWN_BYTES = 50  # of a key, in an error
_PAUSE, _LONGEST_PAUSE = 0.2e-3, 50e-3  # seconds between two looks at a lock that somebody has


class Lock:
    """A lock on a key, for all threads and processes that use the store; what is stored there is untouched.

    Used as `threading.Lock` is: in a `with` block, or by `acquire` and `release`. It has no time to live: it
    is held until it is released, the object is gone, or the process ends, however that happens. A child that
    is forked meanwhile does not hold it. All methods raise StorageError where the file system refuses.
    """

    def __init__(self, directory: Directory, key: bytes) -> None:
        self._directory = directory
        self._path = directory.path / "keys.lock"
        self._key = key[:_SHOWN_BYTES]
        self._place = hash_key(key)[0] >> 2  # a file's offsets have 63 bits
        # While it is held; closed, and the lock free, with the last reference.
        self._file: OpenFile | None = None
        _locks.add(self)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, once it is free; return whether it was taken.

        blocking: False does not wait. timeout: the most seconds to wait; -1 for however long it takes, any
        other number below 0 is as 0, as of a deadline that has passed. A thread that holds it already waits
        for itself. Raises LockError for what is no number of seconds.
        """
        notice()
        if not isinstance(timeout, int | float) or math.isnan(timeout):
            raise LockError(f"timeout must be a number of seconds, or -1 for ever, not {timeout!r}")
        patience = (math.inf if timeout == -1 else timeout) if blocking else 0.0
        taken = False
        with reported(self._path):
            file = self._open()
            try:
                taken = self._take(file, patience)
            finally:
                if not taken:
                    file.let_go()
        if taken:
            self._file = file
        return taken

    def _take(self, file: OpenFile, patience: float) -> bool:
        end = time.monotonic() + patience
        pause = pauses(_PAUSE, _LONGEST_PAUSE)
        while not self._directory.files.lock_byte(file.fileno(), self._place):
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(next(pause), left))
        return True

    def release(self) -> None:
        """Free the lock; any thread may. Raises LockError where this object does not hold it."""
        notice()
        file, self._file = self._file, None
        if file is None:
            raise LockError(
                f"the lock {self._key!r} of {self._path.parent} is not held: it cannot be released"
            )
        with reported(self._path), file:
            # Closing is not enough where a forked child still has the file open.
            self._directory.files.unlock_byte(file.fileno(), self._place)

    def locked(self) -> bool:
        """Whether anybody holds it now."""
        notice()
        if self._file is not None:
            return True
        with reported(self._path), self._open() as file:
            return self._directory.files.byte_is_locked(file.fileno(), self._place)

    def _open(self) -> OpenFile:
        file = self._directory.open(self._path, write=True, create=True)
        _files.add(file)
        return file

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        notice()
        if self._file is not None:  # a child that was forked inside the block leaves it to its parent
            self.release()

    def forked(self) -> None:
        """Leave the lock to the parent."""
        self._file = None


_locks = WeakSet[Lock]()
_files = WeakSet[OpenFile]()  # of those that are held, or that a thread is waiting for


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        lock.forked()
    for file in list(_files):
        file.let_go()  # a child that has it open would keep the lock when its parent dies


in_each_child(_after_fork_in_child)
