"""How long to wait before looking again at a lock that somebody has."""

from collections.abc import Iterator

_FIRST, _LONGEST = 1e-3, 50e-3  # seconds
_GROWTH = 1.25  # each pause is so many times the one before: the last is a fifth of the whole wait


def pauses() -> Iterator[float]:
    """Yield seconds, more each time, without end."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * _GROWTH, _LONGEST)
