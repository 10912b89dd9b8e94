"""All versions of all keys in key order, and which of them counts."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from stratakv.record import PUT, Record
from stratakv.segment import Segment

# A segment, and the last record of each of its keys in key order.
Source = tuple[Segment, Iterable[Record]]
_Item = tuple[bytes, int, Segment, Record]


def live(
    sources: Iterable[Source], hides: Callable[[Segment, bytes], bool], now: int
) -> Iterator[tuple[Segment, Record]]:
    """Merge `sources`, newest first, and yield the newest version of each key, where it is live.

    hides: whether a range tombstone has deleted a key in a segment. now: milliseconds since the epoch. What
    is deleted or has expired hides older versions and is not yielded itself.
    """
    last = b""
    for key, _, segment, found in heapq.merge(*(_ranked(rank, *s) for rank, s in enumerate(sources))):
        if key != last:
            last = key
            if found.kind == PUT and (not found.expiry or found.expiry > now) and not hides(segment, key):
                yield segment, found


def _ranked(rank: int, segment: Segment, records: Iterable[Record]) -> Iterator[_Item]:
    return ((found.key, rank, segment, found) for found in records)
