"""How long to sleep between two looks at what somebody else is to do."""

from __future__ import annotations

import math
from collections.abc import Iterator

_GROWTH = 1.25  # each pause is so many times the one before: the last is a fifth of the whole wait


def pauses(first: float, longest: float = math.inf) -> Iterator[float]:
    """Yield the seconds to sleep, one pause after the other and without end."""
    pause = first
    while True:
        yield pause
        pause = min(pause * _GROWTH, longest)
