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
from stratakv.lookup import lookup
from stratakv.record import COMMIT, Record
from stratakv.segment import Segment

# A segment that is longer stays, as reading it takes too long: this takes 1 ms, or 20 if it is of the
# shortest records, each written again and again. A delete_prefix takes several.
_MOST_BYTES = 2**20
_MOST_KEYS = 1000
# And so does one of which more is left than this, or than one part in so many of what it was made for; and
# one whose range tombstones alone are more.
_MOST_LEFT = 64 * 1024
_SHARE = 4
_MOST_RANGES = 64  # every hit in an older segment compares its key with all of them


class Beginning(NamedTuple):
    """What a segment begins with: range tombstones, then the records of the segment that it replaces."""

    prefixes: tuple[bytes, ...] = ()
    replaced: Segment | None = None
    records: tuple[Record, ...] = ()

    def encode(self, link: int) -> tuple[bytes, int]:
        """Return the bytes, each record a commit and linked to the one before; and how many are records."""
        ranges, link = record.range_tombstones(self.prefixes, link)
        records, _ = record.linked(map(self._body, self.records), link)
        return ranges + records, len(records)

    def _body(self, found: Record) -> bytes:
        assert self.replaced
        return record.encode(found.kind | COMMIT, found.key, self.replaced.value(found), found.expiry)

    def hand_heat_on(self, begun: Segment) -> None:
        """Count the records as having been read as often in the segment that has begun with them."""
        for found in self.records:
            assert self.replaced
            heat = index.heat_of(self.replaced.arrays, found.key, found.offset)
            if heat and (there := lookup(begun, found.key, index.hash_key(found.key)[0])):
                begun.hot[there.place] = heat


NOTHING = Beginning()


def without(prefix: bytes, old: Segment, tip: int, keys: int) -> Beginning:
    """Return what the segment begins with in which `prefix` is deleted from `old`.

    tip: the offset up to which `old` is filled. keys: how many it has.
    """
    alone = Beginning((prefix,))
    most_left = min(_MOST_LEFT, old.end // _SHARE)
    if old.start > most_left or len(old.ranges) >= _MOST_RANGES or tip > _MOST_BYTES or keys > _MOST_KEYS:
        return alone
    try:
        last = [old.sound(offset) for offset in old.latest(tip).values()]
    except CorruptionError:
        return alone  # it stays as it is, for whoever reads it to be told
    records = sorted(found for found in last if not found.key.startswith(prefix))
    if sum(found.end - found.offset for found in records) > most_left:
        return alone
    prefixes = tuple(each for each in old.ranges if not each.startswith(prefix))
    return Beginning((*prefixes, prefix), old, tuple(records))
