"""How long work tells how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

# Told bytes done and bytes in all, now and then; what it raises, such as KeyboardInterrupt, ends the work.
Progress = Callable[[int, int], None]

P = ParamSpec("P")
T = TypeVar("T")


def untold(done: int, total: int) -> None:
    """The progress that nobody asks for."""


class _CarriedError(Exception):
    """Carries what a callback has raised."""

    def __init__(self, error: OSError) -> None:
        self.error = error


@contextmanager
def apart(callback: Callable[P, T]) -> Iterator[Callable[P, T]]:
    """Yield the callback for use in the block, which ends with the OSError that it raises, if it does.

    Else that would pass for an answer of the kernel's about the store: a terminal that has gone, or standard
    output that is full.
    """

    def told(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return callback(*arguments, **named)
        except OSError as error:
            raise _CarriedError(error) from error

    raised = None
    try:
        yield told
    except _CarriedError as carried:
        raised = carried.error
    if raised:
        raise raised
