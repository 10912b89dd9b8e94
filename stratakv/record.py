"""One record: bytes in, values out.

    offset  size  field
         0     8  checksum   XXH3-64 of everything from byte 12 to the end of the record
         8     4  link       low 32 bits of the checksum of the record before it in the same log
        12     4  length of the value
        16     2  length of the key, 1 to 65,535 (0 only in an END record)
        18     1  kind       see `Kind`; bit 7 set on the last record of a commit
        19     1  flags      0; reserved
        20     8  expiry     milliseconds since the epoch, 0 = never; 1 in a tombstone, of a key or of a range
        28        key, then value

All integers are little-endian. A tombstone is a record that expired long ago, so that a lookup needs to
ask one thing only. A record is sound when its checksum holds. It belongs at its place in the
log when its link is that of the record before it, too: the tail that a dead writer left behind can then
never be taken for a continuation. The link stands outside the checksum, so that records can be encoded
before the writer lock is taken and moved by a merge without being hashed again.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

HEADER_BYTES = 28
_KIND_OFFSET = 18
PREFIX_BYTES = 12  # checksum and link, which stand outside the checksum
LINK_MASK = 0xFFFF_FFFF
COMMIT = 0x80

unpack_header = struct.Struct("<QIIHBBQ").unpack_from
# Checksum, lengths of value and key, expiry: a lookup needs no more, and each field costs 20 ns.
unpack_fields = struct.Struct("<Q4xIH2xQ").unpack_from
TOMBSTONE_EXPIRY = 1
pack_body = struct.Struct("<IHBBQ").pack
pack_prefix = struct.Struct("<QI").pack


# A mapped log, or a byte view of it. The slices of the one are copies, those of the other are not.
Sliceable = mmap | memoryview


class Kind(enum.IntEnum):  # on disk: add at the end, never renumber
    PUT = 1
    TOMBSTONE = 2
    END = 3  # the last record of a log that was written from others: without it, it is an unfinished one
    RANGE = 4  # at the start of a log only: every older segment's keys that begin with this key are deleted


# Plain integers: comparing with a member of an IntEnum costs 30 ns more.
PUT, TOMBSTONE, END, RANGE = int(Kind.PUT), int(Kind.TOMBSTONE), int(Kind.END), int(Kind.RANGE)


class Record(NamedTuple):
    """Where a record lies in its log, and what its header says."""

    offset: int
    end: int
    checksum: int
    link: int
    kind: int  # without the commit bit
    commit: bool
    key: bytes
    value_length: int
    expiry: int

    @property
    def value_offset(self) -> int:
        return self.end - self.value_length


def encode(kind: int, key: bytes, value: bytes | bytearray | memoryview, expiry: int) -> bytes:
    """Return the body of a record: all of it but checksum and link. `kind` carries the commit bit."""
    return b"".join((pack_body(len(value), len(key), kind, 0, expiry), key, value))


checksum_of = xxh3_64_intdigest


def is_live(expiry: int, now: int) -> bool:
    """Whether a record with this expiry is to be seen; now: milliseconds since the epoch."""
    return not expiry or expiry > now  # a tombstone's is 1


def kind_of(body: bytes) -> int:
    """Return the kind of an encoded record, without the commit bit."""
    return body[_KIND_OFFSET - PREFIX_BYTES] & ~COMMIT


def frame(body: bytes, checksum: int, link: int) -> bytes:
    """Return the whole record that follows the one whose checksum ended in `link`."""
    return pack_prefix(checksum, link) + body


def range_tombstones(prefixes: Iterable[bytes], link: int) -> tuple[bytes, int]:
    """Return the records that delete `prefixes`, each a commit, and the link of what follows them."""
    return linked((encode(RANGE | COMMIT, prefix, b"", TOMBSTONE_EXPIRY) for prefix in prefixes), link)


def linked(bodies: Iterable[bytes], link: int) -> tuple[bytes, int]:
    """Return the records of these bodies, the first linked to `link`, and the link of what follows them."""
    frames = []
    for body in bodies:
        checksum = checksum_of(body)
        frames.append(frame(body, checksum, link))
        link = checksum & LINK_MASK
    return b"".join(frames), link


def decode(log: mmap, view: Sliceable, offset: int, end: int) -> Record | None:
    """Return the sound record at `offset` of a log of `end` bytes, or None.

    log, view: the mapped log and what may be sliced of it.
    """
    if offset + HEADER_BYTES > end:
        return None
    checksum, link, value_length, key_length, kind, _flags, expiry = unpack_header(view, offset)
    key_offset = offset + HEADER_BYTES
    stop = key_offset + key_length + value_length
    if stop > end or xxh3_64_intdigest(view[offset + PREFIX_BYTES : stop]) != checksum:
        return None
    key = log[key_offset : key_offset + key_length]
    return Record(offset, stop, checksum, link, kind & ~COMMIT, kind >= COMMIT, key, value_length, expiry)


# What stands at bytes 18 and 19 of any record: a kind, and flags of 0.
_KIND_AND_FLAGS = re.compile(rb"[\x01-\x04\x81-\x84]\x00")


# A log can be crafted so that each byte of it seems to begin a record that reaches to its end. Once so many
# times its length was hashed in vain, only records up to _SHORT_BYTES are looked for. What accident leaves
# behind takes a hundredth of that.
_MOST_HASHED = 1024
_SHORT_BYTES = 65_536


def search(log: mmap, view: Sliceable, offset: int, end: int) -> Iterator[Record]:
    """Yield every sound record between `offset` and `end`, whatever damage lies between them."""
    patience = _MOST_HASHED * (end - offset)
    while offset < end:
        length = _length(view, offset, end)
        found = decode(log, view, offset, end) if patience > 0 or length <= _SHORT_BYTES else None
        if found:
            yield found
            offset = found.end
        else:
            patience -= length
            candidate = _KIND_AND_FLAGS.search(log, offset + _KIND_OFFSET + 1, end)
            if candidate is None:
                return
            offset = candidate.start() - _KIND_OFFSET


def _length(view: Sliceable, offset: int, end: int) -> int:
    """Return how long the record at `offset` would be; 0 where it would not fit."""
    if offset + HEADER_BYTES > end:
        return 0
    _, _, value_length, key_length, _, _, _ = unpack_header(view, offset)
    length: int = HEADER_BYTES + key_length + value_length
    return length if offset + length <= end else 0


def walk(log: mmap, view: Sliceable, offset: int, link: int, end: int) -> Iterator[Record]:
    """Yield the records from `offset` on, until the first that is not sound or not linked to the last."""
    while (record := decode(log, view, offset, end)) and record.link == link:
        yield record
        offset, link = record.end, record.checksum & LINK_MASK
