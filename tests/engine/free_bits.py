"""Bits of a store's files that say nothing: what is flipped among them is no damage."""

from __future__ import annotations

from stratakv.index import HEADER_BYTES, Shape

CONTROL_WORDS = 16 * 8  # bytes of CONTROL that are words; behind them are counters
_INDEX_WORDS = 11 * 8  # bytes of the header of an index that are words; the rest is room
# Words of CONTROL from which nothing follows that could be compared: they may be wrong, and cost a sync,
# a number, a figure of `stats`, or a few pages of zeros.
_ADVISORY = {"synced": 11, "next": 12, "poisoned": 13, "logged": 14, "ahead": 15}


def is_free(name: str, offset: int, shape: Shape | None) -> bool:
    """Whether a byte says nothing: unused words, hot bytes, counters, and words that are but a hint.

    shape: of the index that the file is, None for another file.
    """
    if name == "CONTROL":
        return offset >= CONTROL_WORDS or offset // 8 in _ADVISORY.values()
    if shape is None:
        return False
    return _INDEX_WORDS <= offset < HEADER_BYTES or shape.hot_offset <= offset < shape.order_offset
