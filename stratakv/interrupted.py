"""Whether a signal handler has interrupted what it is about to wait for, and would so wait for ever."""

from __future__ import annotations

import sys
from collections.abc import Collection
from types import CodeType, FrameType


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
