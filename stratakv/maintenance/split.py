"""Making small segments of one that is too large to be evicted whole, and what of it stays.

Such segments are there in a store that got its budget late: what was written without one is in segments of
64 MiB, and in larger ones where they were merged, and nobody has counted there what is read. Each is split
once, into parts of the size by which this budget evicts, in its place. If it is the oldest, and the store is
over its budget, as much goes as must: from the start of the log, where the oldest records are unless it was
merged, and first of what was not read since. Each part is installed when it is made, so that whoever goes on
after a death finds the segment hidden so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from stratakv.budget import part_bytes, parts_of, ranks_of_parts
from stratakv.index import ORDER_STRIDE, Shape
from stratakv.maintenance.blocks import Block, Item
from stratakv.maintenance.merge import Job
from stratakv.record import PREFIX_BYTES
from stratakv.segment import Segment
from stratakv.view import View

_BLOCK_BYTES = 2**19  # of log: bounds the memory that a part takes


def ranks_for(view: View, segment: Segment, parts: int) -> range:
    """Return the ranks of so many parts of a segment, highest first; fewer where there are not so many.

    Each part is older than the one before, so that it may be installed before the next one is made.
    """
    place = view.sealed.index(segment)
    following = view.sealed[place - 1] if place else view.active
    return ranks_of_parts(segment.header.newest, following.header.oldest, parts)


class Split:
    """What of one segment stays, and in which parts.

    left: how many bytes may stay; None for all, as they must where older segments follow. older: those, which
    tombstones hide. most_parts: how many there may be. seen, dropped: how many current keys were looked at,
    and how many of them do not stay.
    """

    def __init__(self, segment: Segment, older: Sequence[Segment], max_bytes: int, left: int | None) -> None:
        entry = segment.sealed_entry
        living = max(1, entry.size - entry.dead)
        whole = living + Shape.exact(entry.keys, ORDER_STRIDE).size
        cold, hot = (1.0, 1.0) if left is None else _shares(segment, min(1.0, left / whole))
        # What begins there or behind it stays: of what was not read, and of what was.
        self._first_cold, self._first_hot = round(entry.size * (1 - cold)), round(entry.size * (1 - hot))
        self._segment, self._older = segment, older
        self._part_bytes = part_bytes(max_bytes)
        self.most_parts = parts_of(living, max_bytes)
        self._expected = self._part_bytes * entry.keys // living
        self._dead = entry.dead  # now: each part that is installed adds to it
        self.seen = self.dropped = self._moved = 0

    def job(self, rank: int, ranges: tuple[bytes, ...] = ()) -> Job:
        """Return the job that makes a part. ranges: of the last one, the prefixes of its range tombstones."""
        return Job(
            inputs=(self._segment,),
            expected=0 if ranges else self._expected,
            older=self._older,
            ranges=ranges,
            kind="main",
            oldest=rank,
            newest=rank,
            swept=True,
            treated=lambda: self._dead + self._moved,
        )

    def parts(self, blocks: Iterable[Block]) -> Iterator[Iterator[Block]]:
        """Yield the parts of what is current in the segment, each to be read before the next is asked for."""
        items = self._kept(blocks)
        for item in items:
            yield self._part(chain((item,), items))

    def _kept(self, blocks: Iterable[Block]) -> Iterator[Item]:
        for block in blocks:
            for item in block:
                self.seen += 1
                if item[2] >= (self._first_hot if item[5] else self._first_cold):
                    self._moved += PREFIX_BYTES + len(item[1])
                    yield item
                else:
                    self.dropped += 1

    def _part(self, items: Iterator[Item]) -> Iterator[Block]:
        taken = held = 0
        block: Block = []
        for item in items:
            block.append(item)
            held += PREFIX_BYTES + len(item[1])
            if taken + held >= self._part_bytes:
                break
            if held >= _BLOCK_BYTES:
                yield block
                block, taken, held = [], taken + held, 0
        yield block


def _shares(segment: Segment, share: float) -> tuple[float, float]:
    """Return which part stays of what was not read, and of what was, where so much of all may."""
    hot = bytes(segment.hot)
    read = (len(hot) - hot.count(0)) / max(1, segment.sealed_entry.keys)
    if share <= read:
        return 0.0, share / read if read else 0.0
    return (share - read) / (1 - read) if read < 1 else 1.0, 1.0
