"""Looking a key up in one segment: its slots, and the record they lead to, believed for its checksum."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest

from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.errors import CorruptionError
from stratakv.index import FINGERPRINT, W_CHECKSUM, hash_key
from stratakv.log import OFFSET_MASK
from stratakv.record import HEADER_BYTES, PREFIX_BYTES, is_live, unpack_fields
from stratakv.segment import Segment
from stratakv.sieve import Sieve

# Bloom words, how many there are, and the segment: all that a lookup that finds nothing touches.
Row = tuple[memoryview, int, Segment]


class Found(NamedTuple):
    """A record as a lookup found it; a sound one, but of `newest`."""

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


class _Part(dict[int, tuple[Row, ...]]):
    """Some segments, newest first, and for each byte of a sieve's words those that it leaves to be asked.

    rows: each with its bit in that byte; 0 for one that is always asked.
    """

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[tuple[int, Row]] = []

    def __missing__(self, byte: int) -> tuple[Row, ...]:
        found = self[byte] = tuple([row for bit, row in self.rows if not bit or byte & bit])
        return found


class Candidates:
    """Segments in which keys are looked up, and for each key those of them that a sieve leaves to be asked.

    all: their rows, newest first. sieved: the numbers of those that the sieve knows. The others are always
    asked. What is to be asked is remembered for each byte of a word, of which there are 256, and not for each
    word: a view does not last until half of these have come a second time.
    """

    __slots__ = ("_parts", "_shift", "_table", "all", "sieved")

    def __init__(self, segments: Iterable[Segment], sieve: Sieve | None) -> None:
        self.all = rows_of(segments)
        self.sieved: set[int] = set()
        self._parts = _Part(), _Part(), _Part(), _Part()
        self._table: Any = sieve.table if sieve else None
        self._shift = sieve.shift if sieve else 0
        last = place = 0
        for row in self.all:
            # Parts are asked one after the other, and so are the rows of each: what is not sieved goes where
            # the one before it went, so that all are asked in the order of their age.
            bit = _bit_of(row[2], sieve)
            if bit > last:  # the lanes are in the order of the segments, too
                last, place = bit, (bit.bit_length() - 1) // 8
                self.sieved.add(row[2].number)
            else:
                bit = 0
            self._parts[place].rows.append((bit >> 8 * place, row))

    def of(self, first: int) -> tuple[Row, ...]:
        """Return the rows to ask for a key whose first hash half this is, newest first."""
        if self._table is None:
            return self.all
        word = self._table[first >> self._shift]
        one, two, three, four = self._parts
        return one[word & 255] + two[word >> 8 & 255] + three[word >> 16 & 255] + four[word >> 24]


def rows_of(segments: Iterable[Segment]) -> tuple[Row, ...]:
    return tuple([(segment.bloom, segment.word_count, segment) for segment in segments])


def is_sieved(segment: Segment, sieve: Sieve | None) -> bool:
    """Whether a sieve knows this segment."""
    return _bit_of(segment, sieve) > 0


def _bit_of(segment: Segment, sieve: Sieve | None) -> int:
    """Return the bit that a segment has in the words of a sieve; 0 where that does not know it.

    IMPORTANT: 0 for the active segment as well, which still gets keys that the sieve does not have. Without a
    sieve the index is not touched, which would bring some of it into memory.
    """
    if sieve is None or segment.entry is None:
        return 0
    return sieve.lanes.get((segment.number, segment.arrays.header[W_CHECKSUM]), 0)


def lookup(segment: Segment, key: bytes, first: int) -> Found | None:
    """Return the record of `key` in one segment, asking only the slots; CorruptionError for a damaged one.

    first: the first half of the key's hash.
    """
    hit = probe(segment, key, first)
    # 0.1 µs less than Found(…), of 1.1 for all of this.
    return tuple.__new__(Found, (segment, *hit)) if hit else None


def probe(segment: Segment, key: bytes, first: int, whole: bool = True) -> Hit | None:
    """Do as `lookup`, but return a plain tuple: to make a `Found` and take it apart costs `get_many` a tenth.

    whole: False where it is enough that the record is there, with this very key, and not whether it is sound.
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
            if (whole or not mine) and xxh3_64_intdigest(data[offset + PREFIX_BYTES : end]) != checksum:
                raise CorruptionError(segment.path, offset, "the record's checksum does not hold")
            if mine:
                return place, offset, value, end, expiry
        place += 1
        if place == size:
            place = 0
            if 0 not in slots:
                raise CorruptionError(segment.path, 0, "its index has no empty slot")
    return None


def newest(segments: Candidates, key: bytes) -> Found | None:
    """Return the record of `key` in the first of `segments` that has one, live or not.

    Of that nothing is known but that it is there, with this key: neither its expiry nor where its value ends
    was looked at. CorruptionError for one whose key is damaged, as it may be this. Maintenance asks this of
    each key that it moves, and wants no value: reading all of it takes 1.2 times as long at 1 KiB. `may_have`
    is written out: of 32 segments, a call for each would take 1.4 times as long.
    """
    first, second = hash_key(key)
    pattern = PATTERNS[second & PATTERN_MASK]
    for words, count, segment in segments.of(first):
        if words[first % count] & pattern == pattern and (hit := probe(segment, key, first, False)):
            return tuple.__new__(Found, (segment, *hit))
    return None
