"""What a signal may interrupt: its handler may raise, and it may need what its own thread has in hand.

A handler runs in the main thread, behind any call and at the beginning of any function of ours.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Protocol, cast


class Turn(Protocol):
    """A `threading.RLock`, which knows whose it is. (`threading.Condition` asks it the same way.)"""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def _is_owned(self) -> bool: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def new_turn() -> Turn:
    return cast(Turn, threading.RLock())


def let_go(turn: Turn) -> None:
    """Free a lock that this thread has still, though the `with` block has ended.

    Since Python 3.14 a handler may run, and raise, when the lock is taken and the block has not begun.
    """
    if turn._is_owned():
        turn.release()


@contextmanager
def taken(turn: Turn) -> Iterator[None]:
    """Take a lock for a `with` block, free it at its end, and whatever a signal raises on the way."""
    inside = turn._is_owned()
    try:
        with turn:
            yield
    except BaseException:
        if not inside:
            let_go(turn)
        raise


def is_interrupted(codes: Collection[CodeType], owner: object, above: int) -> bool:
    """Whether this thread is in the midst of a method of `owner`, one with any of these codes.

    above: so many of the frames above the caller's are calls of its own, and not looked at.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame:
        if above < 0 and frame.f_code in codes and frame.f_locals.get("self") is owner:
            return True
        above -= 1
        frame = frame.f_back
    return False
