"""All versions of all keys in key order, and which of them counts."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from stratakv.record import PUT, Record
from stratakv.segment import Segment

# A segment, and the last record of each of its keys in key order.
Source = tuple[Segment, Iterable[Record]]
_Item = tuple[bytes, int, Segment, Record]


def live(sources: Iterable[Source], now: int) -> Iterator[tuple[Segment, Record]]:
    """Merge `sources`, newest first, and yield the newest version of each key, where it is live.

    now: milliseconds since the epoch. A tombstone and an expired record hide older versions and are not
    yielded themselves.
    """
    last = b""
    for key, _, segment, found in heapq.merge(*(_ranked(rank, *s) for rank, s in enumerate(sources))):
        if key != last:
            last = key
            if found.kind == PUT and (not found.expiry or found.expiry > now):
                yield segment, found


def _ranked(rank: int, segment: Segment, records: Iterable[Record]) -> Iterator[_Item]:
    return ((found.key, rank, segment, found) for found in records)
