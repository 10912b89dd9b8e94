"""A sealed segment in the order of its keys: by its finished index, or sorted when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from stratakv import past_damage, record
from stratakv.errors import CorruptionError
from stratakv.past_damage import Damaged
from stratakv.record import Record
from stratakv.segment import Segment


def order(segment: Segment, damaged: Damaged | None = None) -> array[int] | memoryview:
    """Return the offsets of each key's last record in key order, for a sealed log that is not in it."""
    if segment.arrays.shape.order:
        return segment.arrays.order
    if segment.order_made is None:
        try:
            latest = segment.latest(segment.end)
        except CorruptionError:
            if damaged is None:
                raise
            # Not to be remembered: each scan must be told of the damage.
            return _sorted_offsets(past_damage.latest(segment, segment.end, damaged))
        segment.order_made = _sorted_offsets(latest)
    return segment.order_made


def in_order(segment: Segment, start: bytes, damaged: Damaged) -> Iterator[Record]:
    """Yield each key's last record from key `start` on, in key order; for sealed segments.

    damaged: told the offset of each record that has to be left out.
    """
    if segment.header.ordered:
        return _walk_from(segment, start, damaged)
    return _follow(segment, start, order(segment, damaged), damaged)


def bounds(segment: Segment, *, make: bool = False) -> tuple[bytes, bytes] | None:
    """Return the first and the last key in key order; None where there is none, or that is not known yet.

    make: where it is not known, sort all keys of the log.
    """
    offsets = order(segment) if make and not segment.header.ordered else segment.arrays.order
    if not len(offsets):
        return None
    last = segment.sound(offsets[-1]).key
    if segment.header.ordered:
        beyond = [found.key for found in _walk_from(segment, last)]
        if not beyond:
            raise CorruptionError(segment.path, offsets[-1], "the index leads to what is no entry")
        last = beyond[-1]
    return segment.sound(offsets[0]).key, last


def _follow(
    segment: Segment, start: bytes, offsets: array[int] | memoryview, damaged: Damaged
) -> Iterator[Record]:
    places = range(_bisect(segment, start, offsets), len(offsets))
    return sound(segment, (offsets[place] for place in places), damaged)


def sound(segment: Segment, offsets: Iterable[int], damaged: Damaged) -> Iterator[Record]:
    """Yield the records with these offsets that are sound; `damaged` is told the others."""
    with segment.walked():  # not from front to back, but all of it
        for offset in offsets:
            found = segment.record_at(offset)
            if found:
                yield found
            else:
                damaged(segment, offset)


def _walk_from(segment: Segment, start: bytes, damaged: Damaged | None = None) -> Iterator[Record]:
    """Walk a log in key order, from the last key of the sparse order that is not beyond `start`."""
    sparse = segment.arrays.order
    offset = sparse[max(0, _bisect(segment, start, sparse) - 1)] if len(sparse) else segment.start
    walked = past_damage.records(segment, damaged, offset=offset) if damaged else _all_from(segment, offset)
    for found in walked:
        if found.kind == record.END:
            return
        if found.key >= start:
            yield found


def _all_from(segment: Segment, offset: int) -> Iterator[Record]:
    while True:
        found = segment.sound(offset)
        yield found
        offset = found.end


def _bisect(segment: Segment, start: bytes, offsets: Any) -> int:
    """Return the first place in `offsets` whose key is not below `start`.

    A damaged record counts as what comes behind it, so that whoever begins there meets it.
    """
    low, high = 0, len(offsets)
    while low < high:
        middle = (low + high) // 2
        sound = (found for place in range(middle, high) if (found := segment.record_at(offsets[place])))
        found = next(sound, None)
        if found and found.key < start:
            low = middle + 1
        else:
            high = middle
    return low


def _sorted_offsets(latest: dict[bytes, int]) -> array[int]:
    return array("Q", (offset for _, offset in sorted(latest.items())))
