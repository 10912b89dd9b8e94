"""Every error StrataKV raises on purpose.

StrataKVError
├── InvalidKeyError (ValueError)      a key that is not bytes, is empty or is too long
├── InvalidValueError (ValueError)    a value that is not bytes-like, is too large or is no number
├── InvalidTTLError (ValueError)      a time to live that is negative, NaN or out of range
├── OptionError (ValueError)          an unknown option, a wrong value, or options that contradict
├── KeyNotFoundError (KeyError)       `ttl` of a key that is not there
├── ClosedError                       the handle was closed
├── ReadOnlyError                     a write through a read-only handle
├── TransactionError                  a transaction used after its end, or the store beside it
├── LockError (RuntimeError)          a lock released that is not held
├── StoreBusyError                    the store is open elsewhere and this needs it alone
├── DirectoryError                    not a store, not ours, not reachable
│   ├── FormatError                   written by a newer StrataKV
│   └── RemovedError                  its files were removed while it was open
├── StorageError (OSError)            the file system said no
│   ├── DiskFullError                 … for want of space
│   └── SyncError                     … when asked to make data durable
└── CorruptionError                   bytes on disk that cannot be what was written
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from stratakv.interrupted import check_refused, is_refused


class StrataKVError(Exception):
    """The root of all errors of this package."""


class InvalidKeyError(StrataKVError, ValueError):
    """The key is not `bytes`, is empty, or is longer than 65,535 bytes."""


class InvalidValueError(StrataKVError, ValueError):
    """The value is not bytes-like, is larger than `max_value_bytes`, or is not the number `incr` needs."""


class InvalidTTLError(StrataKVError, ValueError):
    """The time to live is negative, NaN, or too far in the future to be stored."""


class OptionError(StrataKVError, ValueError):
    """An option is unknown, has a wrong value, or contradicts how the store is already open."""


class KeyNotFoundError(StrataKVError, KeyError):
    """The key is not in the store."""


class ClosedError(StrataKVError):
    """The handle was closed."""


class ReadOnlyError(StrataKVError):
    """A write was asked of a handle that was opened with `read_only=True`."""


class TransactionError(StrataKVError):
    """A thread with an open transaction wrote to the store directly, or a transaction was used after its end.

    Or a child that was forked inside a transaction tried to end it.
    """


class LockError(StrataKVError, RuntimeError):
    """A lock was released that this object does not hold; a RuntimeError, as of `threading.Lock`."""


class StoreBusyError(StrataKVError):
    """The store is open in another process, or in this one, and the work needs it alone."""


class DirectoryError(StrataKVError):
    """The directory is not a store, belongs to someone else, or cannot be reached."""


class FormatError(DirectoryError):
    """The directory was written by a newer StrataKV."""


class RemovedError(DirectoryError):
    """The files of the store were removed or replaced while it was open; nobody would see what is written."""


class StorageError(StrataKVError, OSError):
    """The file system refused; `path` and `errno` say where and why."""

    _reason: str

    def __init__(self, path: str | os.PathLike[str], cause: OSError, advice: str) -> None:
        # Of one that was caught as an OSError on its way and is told again, what the kernel had said.
        reason = cause._reason if isinstance(cause, StorageError) else cause.strerror or type(cause).__name__
        super().__init__(f"{os.fspath(path)}: {reason}; {advice}")
        self.path = os.fspath(path)
        self.errno = cause.errno  # after OSError's own constructor, which resets it
        self._reason, self._advice = reason, advice

    def __reduce__(self) -> tuple[Any, ...]:  # a worker process hands its errors on
        return type(self), (self.path, OSError(self.errno, self._reason), self._advice), self.__dict__


class DiskFullError(StorageError):
    """No space, or no quota, is left; reads go on, and writes resume by themselves when there is space."""


class SyncError(StorageError):
    """Data could not be made durable; what was written since the last sync may not survive a power cut."""


class CorruptionError(StrataKVError):
    """Bytes on disk cannot be what was written: `path`, `offset` in bytes, and `reason`."""

    def __init__(self, path: str | os.PathLike[str], offset: int, reason: str) -> None:
        self.path = os.fspath(path)
        self.offset = offset
        self.reason = reason
        store = Path(self.path).parent
        super().__init__(
            f"{self.path}: damaged at byte {offset}: {reason}; "
            f"if the store opens, `python -m stratakv verify --repair {store}` mends it while it is used; "
            f"if it does not, `python -m stratakv recover {store}` keeps what was written before, "
            "and with `--mode salvage` all that is sound; for a Django cache, "
            "these are `manage.py stratakv_verify --repair` and `manage.py stratakv_recover`"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.offset, self.reason), self.__dict__


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ADVICE: dict[int | None, str] = {  # where it is a limit that was reached
    errno.EMFILE: "let the process have more files open (`ulimit -n`): each segment takes three",
    errno.ENFILE: "let the machine have more files open (`sysctl fs.file-max`)",
    errno.ENOMEM: "give the process more address space (`ulimit -v`), or maps (`sysctl vm.max_map_count`): "
    "it maps the whole store",
    errno.EFBIG: "let the process write larger files (`ulimit -f`), or open the store in Python with a lower "
    "`segment_bytes`",
}


def storage_error(path: str | os.PathLike[str], cause: OSError) -> StorageError:
    """Return the error of this package that says what `cause` means for the file at `path`.

    Raises `cause` itself where it is not the kernel's.
    """
    try:
        check_refused(cause)
    except OSError:
        del cause  # which would be in a cycle with this frame
        raise
    if cause.errno in _FULL:
        return DiskFullError(path, cause, "free some space; nothing stored before is lost")
    advice = _ADVICE.get(cause.errno, "look at the disk and its permissions")
    return StorageError(path, cause, f"what was asked for was not done; {advice}")


def removed_error(path: str | os.PathLike[str]) -> RemovedError:
    """Return what is raised where the store at `path` is no longer the one that is open."""
    return RemovedError(f"{os.fspath(path)} was removed or replaced while it was open; open it again")


class reported:  # noqa: N801 - as those of contextlib
    """Let what the kernel refuses inside leave as a StorageError about the file it names, or about `path`.

    No generator, for the reason that `unless_refused` gives.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if is_refused(error) and not isinstance(error, StorageError):
            raise storage_error(error.filename or self._path, error) from error
