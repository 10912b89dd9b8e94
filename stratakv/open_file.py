"""Open files, which nobody can forget to close, and which are none of standard input, output and error."""

from __future__ import annotations

import errno
import fcntl
import os
from io import FileIO
from pathlib import Path

from stratakv.interrupted import check_refused

_FIRST = 3  # descriptor that is none of standard input, output and error


class OpenFile(FileIO):
    """An open file. It is closed at the end of a `with` block, by `let_go`, or with the last reference.

    So it does not stay open whatever a signal's handler raises, and wherever. IMPORTANT: `close` is not ours,
    which such a handler could keep from closing anything.
    """

    _finalizing = False  # hides that of FileIO, by which it warns where the last reference did it

    def let_go(self) -> None:
        """Close it. Linux does so whatever it answers, and what must be on disk was synced."""
        try:
            self.close()
        except OSError as answer:
            check_refused(answer)
            if answer.errno == errno.EBADF:
                raise

    def __exit__(self, *error: object) -> None:
        self.let_go()


def open_file(path: Path, flags: int, mode: int = 0) -> OpenFile:
    """Open a file with the flags of `os.open`; `mode` are the permissions of one that is made."""
    # One call: a signal that comes while the kernel is at work has its handler called at the end of that.
    # Between the calls there is nobody yet whom the descriptor belongs to.
    try:
        return next(map(OpenFile, map(os.open, (path,), (flags,), (mode,)), ("r+",)))
    except IsADirectoryError as refusal:
        if isinstance(refusal.filename, int):  # it was opened, and is not wanted
            os.close(refusal.filename)
        raise


def _is_closed(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError as answer:
        check_refused(answer)
        return True
    return False


def fill_standard() -> None:
    """Let /dev/null take the place of standard input, output and error where they are closed.

    A program that has closed those, as daemons do, would print into the store, or into what `mmap` opens.
    """
    if closed := [fd for fd in range(_FIRST) if _is_closed(fd)]:
        try:
            null = os.open(os.devnull, os.O_RDWR)
        except OSError as cause:  # not as the error that a missing file of the store would be
            raise OSError(errno.ENODEV, "standard output is closed, and there is no /dev/null") from cause
        for fd in closed:
            os.dup2(null, fd)
        if null not in closed:
            os.close(null)
