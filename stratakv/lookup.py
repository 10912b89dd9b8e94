"""Looking a key up in one segment: its slots, and the record they lead to, believed for its checksum."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from stratakv.control import OFFSET_MASK
from stratakv.errors import CorruptionError
from stratakv.index import FINGERPRINT, hash_key
from stratakv.record import HEADER_BYTES, PREFIX_BYTES, is_live, unpack_fields
from stratakv.segment import Segment


class Found(NamedTuple):
    """A sound record as a lookup found it."""

    segment: Segment
    place: int  # of its slot
    offset: int
    value_offset: int
    end: int
    expiry: int

    def live(self, now: int) -> bool:
        return is_live(self.expiry, now)

    def value(self) -> bytes:
        return self.segment.log[self.value_offset : self.end]


Hit = tuple[int, int, int, int, int]  # the fields of Found behind its first


def lookup(segment: Segment, key: bytes, first: int) -> Found | None:
    """Return the record of `key` in one segment, asking only the slots; CorruptionError for a damaged one.

    first: the first half of the key's hash.
    """
    hit = probe(segment, key, first)
    # 0.1 µs less than Found(…), of 1.1 for all of this.
    return tuple.__new__(Found, (segment, *hit)) if hit else None


def probe(segment: Segment, key: bytes, first: int) -> Hit | None:
    """Do as `lookup`, but return a plain tuple: to make a `Found` and take it apart costs `get_many` a tenth.

    Takes the fields apart as `Reader.get` does: to decode each record whole would cost it a fifth.
    """
    slots, size = segment.slots, segment.slot_count
    place = first % size
    tag = first & FINGERPRINT
    while slot := slots[place]:
        offset = slot ^ tag
        if offset <= OFFSET_MASK:
            data = segment.view
            try:
                checksum, value_bytes, key_bytes, expiry = unpack_fields(data, offset)
            except struct.error:
                raise CorruptionError(segment.path, offset, "the index leads beyond the log") from None
            start = offset + HEADER_BYTES
            value = start + key_bytes
            end = value + value_bytes
            mine = segment.log[start:value] == key
            if xxh3_64_intdigest(data[offset + PREFIX_BYTES : end]) != checksum:
                raise CorruptionError(segment.path, offset, "the record's checksum does not hold")
            if mine:
                return place, offset, value, end, expiry
        place += 1
        if place == size:
            place = 0
            if 0 not in slots:
                raise CorruptionError(segment.path, 0, "its index has no empty slot")
    return None


def newest(segments: Iterable[Segment], key: bytes) -> Found | None:
    """Return the record of `key` in the first of `segments` that has one, live or not.

    CorruptionError for a damaged one, which may be it.
    """
    first, second = hash_key(key)
    for segment in segments:
        if segment.may_have(first, second) and (found := lookup(segment, key, first)):
            return found
    return None
