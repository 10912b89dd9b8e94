"""The locks that a store itself needs, all `flock`: the kernel frees them when their holder dies.

attach.lock       shared by every process that has the store open; exclusive while one prepares it alone
writer.lock       held for the microseconds of a commit
maintenance.lock  held by the one process that compacts
keep.lock         held by the one child that does maintenance in the background, for as long as it lives
sync.lock         held by the one process that syncs the log, while others wait to find their commit covered
bias.lock         not held as a whole, see `bias`

`fcntl` locks would be lost whenever any other descriptor of the file is closed; `flock` locks belong to
the open file, which a forked child shares with its parent: so a child closes those and opens its own
(`Store.forked`).
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType

from stratakv.directory import Directory
from stratakv.errors import storage_error
from stratakv.open_file import OpenFile

EXCLUSIVE, SHARED, UNLOCK = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN
EXCLUSIVE_NOW = EXCLUSIVE | fcntl.LOCK_NB

# A commit takes a few microseconds; whoever sleeps until it ends may get a processor again milliseconds
# later. Of eight processes on two processors, 1 put in 100 took 4.6 ms and more without trying again, 60 µs
# since then, and all did a quarter more; 10 times are too few, 100 do no better (`python -m benchmarks
# processes`).
_TRIES = 30


class FileLock:
    """One lock file, open. Where nobody may write, a missing one is as good as held: there are no writers.

    A `with` block takes no lock at its beginning; at its end it calls `free`. There are four ways to let go:

    release  frees the lock; the file stays open, so that the lock can be taken again
    unlock   does the same where a signal may raise at any moment
    free     frees the lock and closes the file
    close    closes the file: of a lock that is not held, or in a forked child, whose parent holds it on
    """

    # Also of one that a signal ended as it was being made.
    fd = -1
    _file: OpenFile | None = None

    def __init__(self, directory: Directory, name: str, *, write: bool) -> None:
        self._files = directory.files
        self.path = directory.path / name
        # Not a method: a signal may raise at the beginning of any function of ours.
        self.unlock: Callable[[], object] = bool
        with suppress(FileNotFoundError):
            self._file = directory.open(self.path, write=write, create=write)
            self.fd = self._file.fileno()
            self.unlock = partial(self._files.flock, self._file, UNLOCK)

    def __del__(self) -> None:
        self.close()  # of what was being opened when something else failed

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def exclusive(self) -> None:
        """Wait for the lock: try again for as long as a few commits take, then sleep until it is free."""
        for _ in range(_TRIES):
            if self.try_exclusive():
                return
        self._flock(EXCLUSIVE)

    def shared(self) -> None:
        self._flock(SHARED)

    def try_exclusive(self) -> bool:
        """Take the lock alone if that is possible at once. A shared hold of our own is lost if it is not."""
        try:
            self._flock(EXCLUSIVE_NOW)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        self._flock(UNLOCK)

    def _flock(self, operation: int) -> None:
        if self.fd >= 0:
            try:
                self._files.flock(self.fd, operation)
            except BlockingIOError:  # an answer
                raise
            except OSError as cause:
                raise storage_error(self.path, cause) from cause

    def free(self) -> None:
        """Release the lock and close the file, which frees it even where the kernel refuses the one."""
        try:
            self.release()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing.

        That frees the lock only if no forked child has the file open too: whoever holds it must `free` it.
        A child must not: it would free its parent's lock.
        """
        self.unlock, self.fd = bool, -1  # first: others may have the number as soon as it is closed
        if self._file:
            self._file.let_go()
