"""The header of a log: who it is and whom it replaces.

    offset  size  field
         0     8  magic "STRATALG"
         8     4  format, 1
        12     4  first link: what the first record's link must be; random, so that no old bytes fit
        16     8  number of the segment
        24     8  oldest: lowest number among the segments whose records this log holds
        32     8  newest: highest number among them
        40     8  floor: segments whose newest is below it were cleared away before this log was made
        48     8  1 where the records are in key order, 0 where they are in the order of arrival
        56     8  XXH3-64 of bytes 0 to 56

A log that writers wrote has oldest = newest = number. One that was written from others has a higher
number and replaces every segment from oldest to newest; an END record is the last of it.
With these the logs alone tell the order of segments when the manifest is lost.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

HEADER_BYTES = 64
FORMAT = 1
_MAGIC = b"STRATALG"
_HEADER = struct.Struct("<8sIIQQQQQ")
_CHECKSUM = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class LogHeader:
    number: int
    oldest: int
    newest: int
    floor: int
    first_link: int
    ordered: bool = False

    def pack(self) -> bytes:
        head = _HEADER.pack(
            _MAGIC, FORMAT, self.first_link, self.number, self.oldest, self.newest, self.floor, self.ordered
        )
        return head + _CHECKSUM.pack(xxh3_64_intdigest(head))

    @classmethod
    def unpack(cls, data: bytes) -> LogHeader | None:
        """Return the header in the first 64 bytes of `data`; None where there is no sound one."""
        if len(data) < HEADER_BYTES:
            return None
        head = data[: _HEADER.size]
        if _CHECKSUM.unpack_from(data, _HEADER.size)[0] != xxh3_64_intdigest(head):
            return None
        magic, version, first_link, number, oldest, newest, floor, ordered = _HEADER.unpack(head)
        if magic != _MAGIC or version != FORMAT or not oldest <= newest <= number:
            return None
        return cls(number, oldest, newest, floor, first_link, bool(ordered))
