"""Bits of a store's files that say nothing: what is flipped among them is no damage."""

from __future__ import annotations

from stratakv.control import (
    W_AHEAD,
    W_ASLEEP,
    W_BIAS,
    W_COUNTS,
    W_LAST,
    W_LOGGED,
    W_NEXT,
    W_POISONED,
    W_SYNCED,
    W_SYNCS,
    W_TURNS,
    WANTED_WORDS,
)
from stratakv.index import HEADER_BYTES, Shape

CONTROL_WORDS = (W_COUNTS + 1) * 8  # bytes of CONTROL that are words of all processes together
CONTROL_HINTS = WANTED_WORDS.stop * 8  # up to here, words that each process has for itself; then, counters
_INDEX_WORDS = 11 * 8  # bytes of the header of an index that are words; the rest is room
# Words of CONTROL from which nothing follows that could be compared: they may be wrong, and cost a sync,
# a number, a figure of `stats`, a few pages of zeros, or some waiting.
_ADVISORY = {
    *(W_SYNCED, W_NEXT, W_POISONED, W_LOGGED, W_AHEAD),
    *(W_TURNS, W_BIAS, W_LAST, W_SYNCS, W_ASLEEP, W_COUNTS),
}


def is_free(name: str, offset: int, shape: Shape | None) -> bool:
    """Whether a byte says nothing: unused words, hot bytes, counters, and words that are but a hint.

    shape: of the index that the file is, None for another file.
    """
    if name == "CONTROL":
        return offset >= CONTROL_WORDS or offset // 8 in _ADVISORY
    if shape is None:
        return False
    return _INDEX_WORDS <= offset < HEADER_BYTES or shape.hot_offset <= offset < shape.order_offset
