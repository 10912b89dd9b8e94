"""The locks of a store, all `flock`: the kernel frees them when their holder dies.

attach.lock       shared by every process that has the store open; exclusive while one prepares it alone
writer.lock       held for the microseconds of a commit
maintenance.lock  held by the one process that compacts
sync.lock         held by the one process that syncs the log, while others wait to find their commit covered

`fcntl` locks would be lost whenever any other descriptor of the file is closed; `flock` locks belong to
the open file, which a forked child shares with its parent: so a child must reopen them (`reopen`).
"""

from __future__ import annotations

import fcntl
from contextlib import suppress

from stratakv.directory import Directory
from stratakv.errors import storage_error

EXCLUSIVE, SHARED, UNLOCK, NO_WAIT = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_NB


class FileLock:
    """One lock file, open. Where nobody may write, a missing one is as good as held: there are no writers."""

    def __init__(self, directory: Directory, name: str, *, write: bool) -> None:
        self._files = directory.files
        self._path = directory.path / name
        self.fd = -1
        with suppress(FileNotFoundError):
            self.fd = directory.open(self._path, write=write, create=write)

    def __del__(self) -> None:
        self.close()  # of what was being opened when something else failed

    def exclusive(self) -> None:
        self._flock(EXCLUSIVE)

    def shared(self) -> None:
        self._flock(SHARED)

    def try_exclusive(self) -> bool:
        """Take the lock alone if that is possible at once. A shared hold of our own is lost if it is not."""
        try:
            self._flock(EXCLUSIVE | NO_WAIT)
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
                raise storage_error(self._path, cause) from cause

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
        if self.fd >= 0:
            self._files.close(self.fd)
            self.fd = -1
