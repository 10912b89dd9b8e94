"""The header of a log: who it is, how old what it holds is, and whom it replaces.

    offset  size  field
         0     8  magic "STRATALG"
         8     4  format, 1
        12     4  first link: what the first record's link must be; random, so that no old bytes fit
        16     8  number of the segment
        24     8  oldest: lowest rank among the segments whose records this log holds
        32     8  newest: highest rank among them
        40     8  floor: segments whose newest is below it were dropped before this log was made
        48     8  began: when the oldest of its records was written at the earliest, ms since the epoch
        56     2  1: the records are in key order, not in that of arrival; 2: of the main generation
        58     2  how many records it took over from the log before, which stand behind its range tombstones
        60     4  how many range tombstones the log begins with
        64     8  XXH3-64 of bytes 0 to 63

A rank says how new records are: of what writers wrote it is the segment's number times 65,536, so that
there is room for what maintenance moves in between. A log that writers wrote has its own rank, and those
of the log whose records it took over, if it did (`handover`). One that was written from others has a
higher number and replaces every segment whose ranks lie within its range; an END record is the last of it.
With these the logs alone tell the order of segments when the manifest is lost.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

HEADER_BYTES = 72
FORMAT = 1
RANKS_PER_NUMBER = 1 << 16
OFFSET_BITS = 40  # of an offset in a log, in a slot and in a position: a log is shorter than 1 TiB
OFFSET_MASK = (1 << OFFSET_BITS) - 1
_MAGIC = b"STRATALG"
_HEADER = struct.Struct("<8sIIQQQQQHHI")
_CHECKSUM = struct.Struct("<Q")
_ORDERED, _MAIN = 1, 2


def rank_of(number: int) -> int:
    """Return the rank of what writers put into segment `number`."""
    return number * RANKS_PER_NUMBER


@dataclass(frozen=True, slots=True)
class LogHeader:
    number: int
    oldest: int
    newest: int
    floor: int
    first_link: int
    began: int
    ordered: bool = False
    main: bool = False
    taken: int = 0
    ranges: int = 0

    @property
    def is_original(self) -> bool:
        """Whether writers wrote this log, and not a merge or a recovery from others."""
        return self.newest == rank_of(self.number)

    def pack(self) -> bytes:
        head = _HEADER.pack(
            _MAGIC,
            FORMAT,
            self.first_link,
            self.number,
            self.oldest,
            self.newest,
            self.floor,
            self.began,
            self.ordered * _ORDERED | self.main * _MAIN,
            self.taken,
            self.ranges,
        )
        return head + _CHECKSUM.pack(xxh3_64_intdigest(head))

    @classmethod
    def unpack(cls, data: bytes) -> LogHeader | None:
        """Return the header in the first bytes of `data`; None where there is no sound one."""
        if len(data) < HEADER_BYTES:
            return None
        head = data[: _HEADER.size]
        if _CHECKSUM.unpack_from(data, _HEADER.size)[0] != xxh3_64_intdigest(head):
            return None
        magic, version, first_link, number, oldest, newest, floor, began, flags, taken, ranges = (
            _HEADER.unpack(head)
        )
        if magic != _MAGIC or version != FORMAT or not oldest <= newest <= rank_of(number):
            return None
        ordered, main = bool(flags & _ORDERED), bool(flags & _MAIN)
        return cls(number, oldest, newest, floor, first_link, began, ordered, main, taken, ranges)
