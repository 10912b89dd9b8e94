"""Open files, which nobody can forget to close, and which are none of standard input, output and error."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from stratakv.interrupted import check_refused

_FIRST = 3  # descriptor that is none of standard input, output and error


class OpenFile(FileIO):
    """An open file. It is closed at the end of a `with` block, by `let_go`, or with the last reference.

    So it does not stay open whatever a signal's handler raises, and wherever. IMPORTANT: `close` is not ours,
    which such a handler could keep from closing anything.
    """

    # Hides a field of FileIO that is set when the last reference goes, and makes it warn of that.
    _finalizing = False

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


def owned(call: Callable[..., int], *arguments: Any) -> OpenFile:
    """Return the file whose descriptor a function of C returns.

    All within one call of `next`, which enters no Python: a signal that comes meanwhile has its handler
    called at the end of it. Between two calls there would be nobody yet whom the descriptor belongs to.
    """
    return next(map(OpenFile, map(call, *zip(arguments, strict=True)), ("r+",)))


def open_file(path: Path, flags: int, mode: int = 0) -> OpenFile:
    """Open a file with the flags of `os.open`; `mode` are the permissions of one that is made."""
    try:
        file = owned(os.open, path, flags, mode)
    except IsADirectoryError as refusal:
        if not isinstance(refusal.filename, int):
            raise
        os.close(refusal.filename)  # the kernel has opened it, and FileIO does not want it
        raise OSError(0, "not a regular file", os.fspath(path)) from None
    return file if file.fileno() >= _FIRST else _beyond_standard(file)


def _beyond_standard(file: OpenFile) -> OpenFile:
    """Return the same file under another number, and let /dev/null take its place.

    A program that has closed its standard streams, as daemons do, would print into the store. The others get
    /dev/null as well, so that nothing else of ours takes theirs, as the descriptors that `mmap` makes.
    """
    beyond = owned(fcntl.fcntl, file.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST)
    file.let_go()
    try:
        # IMPORTANT: only what the kernel gives. A number that was free may be another thread's by now.
        while (null := os.open(os.devnull, os.O_RDWR)) < _FIRST:
            os.set_inheritable(null, True)
    except OSError as cause:  # not as the error that a missing file of the store would be
        check_refused(cause)
        beyond.let_go()
        raise OSError(errno.ENODEV, "standard output is closed, and there is no /dev/null") from cause
    os.close(null)
    return beyond
