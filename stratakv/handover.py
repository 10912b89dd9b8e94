"""What a short segment hands over to the one that follows it.

Each `delete_prefix` begins a segment, as range tombstones stand at the start of a log. If the one before
stayed each time, a store in which many prefixes are deleted would have as many segments, and every lookup
would ask them all. So one that holds little goes: the next one replaces it, and begins with its range
tombstones and with those of its records that are not deleted.
"""

from __future__ import annotations

from typing import NamedTuple

from stratakv import index, record
from stratakv.errors import CorruptionError
from stratakv.record import COMMIT, LINK_MASK, Record
from stratakv.segment import Segment

# A segment that holds more stays. So much is read, written and synced in a millisecond, and a delete_prefix
# takes several.
_MOST_BYTES = 64 * 1024
_SHARE = 4  # and one that is filled to more than one part in so many
_MOST_RANGES = 64  # every hit in an older segment compares its key with all of them


class Beginning(NamedTuple):
    """What a segment begins with: range tombstones, then the records of the segment that it replaces."""

    prefixes: tuple[bytes, ...] = ()
    replaced: Segment | None = None
    records: tuple[Record, ...] = ()

    def encode(self, link: int) -> tuple[bytes, int]:
        """Return the bytes, each record a commit and linked to the one before; and how many are records."""
        ranges, link = record.range_tombstones(self.prefixes, link)
        frames = []
        for found in self.records:
            assert self.replaced
            value = self.replaced.value(found)
            body = record.encode(found.kind | COMMIT, found.key, value, found.expiry)
            checksum = record.checksum_of(body)
            frames.append(record.frame(body, checksum, link))
            link = checksum & LINK_MASK
        records = b"".join(frames)
        return ranges + records, len(records)

    def hand_heat_on(self, begun: Segment, end: int) -> None:
        """Count the records, which end at the offset `end` of `begun`, as having been read as often."""
        places = begun.latest(end)
        for found in self.records:
            assert self.replaced
            heat = index.heat_of(self.replaced.arrays, found.key, found.offset)
            begun.hot[index.place_of(begun.arrays, found.key, places[found.key])] = heat


NOTHING = Beginning()


def without(prefix: bytes, old: Segment, tip: int) -> Beginning:
    """Return what the segment begins with in which `prefix` is deleted from `old`, filled up to the tip."""
    alone = Beginning((prefix,))
    if len(old.ranges) >= _MOST_RANGES or tip - old.start > min(_MOST_BYTES, old.end // _SHARE):
        return alone
    try:
        last = [old.sound(offset) for offset in old.latest(tip).values()]
    except CorruptionError:
        return alone  # it stays as it is, for whoever reads it to be told
    prefixes = tuple(each for each in old.ranges if not each.startswith(prefix))
    records = sorted(found for found in last if not found.key.startswith(prefix))
    return Beginning((*prefixes, prefix), old, tuple(records))
