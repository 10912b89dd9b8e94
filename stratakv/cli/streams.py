"""Standard input and output as bytes.

A closed descriptor (`>&-`) must be an error: the number 1 would go to the next file opened, a file
of the store, and what is meant for the terminal would be written there.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


def read_stdin(limit: int) -> bytearray:
    """All of standard input, or its first `limit` bytes; `OSError` when it is closed."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    data = bytearray()
    # Not one long read(): it would notice Ctrl-C between two of its system calls only after the next.
    while len(data) < limit and (part := os.read(sys.stdin.fileno(), min(limit - len(data), 2**20))):
        data += part
    return data


def stdout() -> BinaryIO:
    """Standard output, buffered; `OSError` when it is closed."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return sys.stdout.buffer


@contextmanager
def naming_stdout() -> Iterator[None]:
    """Let an `OSError` of the block say that it is about standard output, and not about the store."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def write(data: bytes) -> None:
    """Write to standard output; `OSError` when it is closed or full."""
    output = stdout()
    with naming_stdout():
        output.write(data)


def write_line(text: str) -> None:
    """Write and flush a line; `OSError` when standard output is closed or full.

    What of `text` came from the command line is written as the bytes it was, UTF-8 or not. A reader that
    has gone is no error, so that the status of the command stays what it found out.
    """
    try:
        write(os.fsencode(text) + b"\n")
        flush_stdout()
    except BrokenPipeError:
        abandon_stdout()


def flush_stdout() -> None:
    """Hand over what was written so far; `OSError` when the other side cannot take it."""
    if sys.stdout is not None:
        with naming_stdout():
            sys.stdout.flush()


def finish_stdout() -> None:
    """Hand over what was written before an error; if even that fails, that error was the first."""
    try:
        flush_stdout()
    except OSError:
        abandon_stdout()


def abandon_stdout() -> None:
    """Send the rest of the output nowhere; else the interpreter would fail to flush it at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
