"""What is kept of the oldest segment where it is too large to be evicted whole, and in which parts.

So it is in a store that got its budget late: what was written without one is in segments of 64 MiB, and in
larger ones where they were merged, and nobody has counted there what is read. As much goes as must: from the
start of the log, where the oldest records are unless it was merged, but for those that were read since. The
rest moves into segments of the size by which this budget evicts, in its place. Each is installed when it is
made, so that whoever goes on after a death finds the segment hidden so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from stratakv.budget import SEGMENTS, left_by_split
from stratakv.index import ORDER_STRIDE, Shape
from stratakv.maintenance.blocks import Block, Item
from stratakv.maintenance.merge import Job
from stratakv.record import PREFIX_BYTES
from stratakv.segment import Segment
from stratakv.view import View

_BLOCK_BYTES = 2**19  # of log: bounds the memory that a part takes


def ranks_for(view: View) -> range:
    """Return the ranks between the oldest segment and the next one, highest first: the oldest part is the
    last, so that each may be installed before the next one is made.
    """
    oldest = view.sealed[-1]
    following = view.sealed[-2] if len(view.sealed) > 1 else view.active
    return range(following.header.oldest - 1, oldest.header.newest, -1)


class Split:
    """What of one segment stays, and in which parts.

    others: bytes that the rest of the store takes. most_parts: how many there may be. dropped: how many keys
    do not stay.
    """

    def __init__(self, segment: Segment, max_bytes: int, others: int) -> None:
        entry = segment.sealed_entry
        living = max(1, entry.size - entry.dead)
        whole = living + Shape.exact(entry.keys, ORDER_STRIDE).size
        share = min(1.0, left_by_split(max_bytes, others) / whole)
        self._segment = segment
        self._first = round(entry.size * (1 - share))  # what begins there or behind it stays
        self._part_bytes = max_bytes // SEGMENTS
        self.most_parts = entry.size // self._part_bytes + 1
        self._expected = self._part_bytes * entry.keys // living
        self.dropped = 0
        self._treated = entry.dead

    def job(self, rank: int) -> Job:
        """Return the job that makes a part. Nothing is older that its tombstones could hide."""
        return Job(
            inputs=(self._segment,),
            expected=self._expected,
            older=(),
            ranges=(),
            kind="main",
            oldest=rank,
            newest=rank,
            swept=True,
            treated=lambda: self._treated,
        )

    def parts(self, blocks: Iterable[Block]) -> Iterator[Iterator[Block]]:
        """Yield the parts of what is current in the segment, each to be read before the next is asked for."""
        items = self._kept(blocks)
        for item in items:
            yield self._part(chain((item,), items))

    def _kept(self, blocks: Iterable[Block]) -> Iterator[Item]:
        for block in blocks:
            for item in block:
                self._treated += PREFIX_BYTES + len(item[1])
                if item[2] >= self._first or item[5]:
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
