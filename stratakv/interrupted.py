"""What a signal may interrupt: its handler may raise, and it may need what its own thread has in hand.

A handler runs in the main thread, behind any call and at the beginning of any function of ours. What it
raises may be a `TimeoutError`, which is an OSError, and must not be taken for an answer of the kernel's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection
from types import CodeType, FrameType, TracebackType
from typing import ParamSpec, Protocol, TypeGuard, TypeVar, cast

T = TypeVar("T")
P = ParamSpec("P")


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


def under(turn: Turn, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do `work` with a lock, and free it whatever a signal raises.

    Since Python 3.14 a handler may raise when the lock is taken and the `with` block has not begun. It is no
    context manager, as a signal may raise at the beginning of the functions of one.
    """
    inside = turn._is_owned()
    try:
        with turn:
            return work(*arguments, **named)
    except BaseException:
        if turn._is_owned() and not inside:
            turn.release()
        raise


def is_refused(error: BaseException | None) -> TypeGuard[OSError]:
    """Whether this is an answer of the kernel's, which has a number."""
    return isinstance(error, OSError) and error.errno is not None


def check_refused(error: Exception) -> None:
    """Raise `error` again where it is an OSError but not one of the kernel's."""
    if isinstance(error, OSError) and not is_refused(error):
        try:
            raise error
        finally:
            del error  # which would be in a cycle with this frame


class unless_refused:  # noqa: N801 - as those of contextlib
    """Go on behind the block where the kernel refuses something inside it.

    No generator: since Python 3.12 an error in the block of one is in a cycle with all frames above, which
    would keep the files of a store that was closed open until it is collected.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return is_refused(error)


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
