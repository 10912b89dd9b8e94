"""Reading a log past what is damaged in it.

Behind a damaged record the next one is found by its link, which confirms the lengths in the damaged one; else
by the slots of the index, which know where records begin. What lies between is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from stratakv import record
from stratakv.log import HEADER_BYTES, OFFSET_MASK
from stratakv.record import Record
from stratakv.segment import Segment

# Told the segment and the offset of each damaged record that is left out.
Damaged = Callable[[Segment, int], object]


def records(
    segment: Segment, damaged: Damaged, end: int | None = None, offset: int = HEADER_BYTES
) -> Iterator[Record]:
    """Yield the records from `offset` to `end` that are sound; `damaged` is told the others."""
    limit = segment.end if end is None else end
    places: list[int] | None = None
    with segment.walked():
        while offset < limit:
            found = record.decode(segment.log, segment.view, offset, limit)
            if found:
                yield found
                offset = found.end
                continue
            damaged(segment, offset)
            following = follower(segment, offset, limit)
            if following:
                offset = following.offset
            else:
                places = places or offsets_beyond(segment, offset)
                place = bisect_right(places, offset)
                offset = places[place] if place < len(places) else limit


def latest(segment: Segment, end: int, damaged: Damaged) -> dict[bytes, int]:
    """Return the offset of each key's last sound record below `end`; `damaged` is told the rest."""
    found = (each for each in records(segment, damaged, end) if each.kind <= record.TOMBSTONE)
    return {each.key: each.offset for each in found}


def follower(segment: Segment, offset: int, end: int) -> Record | None:
    """Return the record behind a damaged one, where its link confirms the lengths in that."""
    if offset + record.HEADER_BYTES > end:
        return None
    checksum, _, value_bytes, key_bytes, _, _, _ = record.unpack_header(segment.view, offset)
    found = record.decode(
        segment.log, segment.view, offset + record.HEADER_BYTES + key_bytes + value_bytes, end
    )
    return found if found and found.link == checksum & record.LINK_MASK else None


def offsets_beyond(segment: Segment, offset: int = 0) -> list[int]:
    """Return where the slots lead, beyond `offset`, ascending; for when the log itself does not tell."""
    places = (slot & OFFSET_MASK for slot in segment.slots if slot)
    return sorted(place for place in places if place > offset)
