"""A record in which one bit is wrong: it is found by trying each, and its checksum proves it."""

from __future__ import annotations

from mmap import mmap

from stratakv.record import HEADER_BYTES, PREFIX_BYTES, checksum_of, unpack_header

_MOST_TRIED = 2**14  # bytes of a record in which a flipped bit is looked for: 0.3 s
_LENGTHS = range(12, 18)  # bytes of a record that say how long it is


def flipped_back(log: mmap, offset: int, end: int) -> bytes | None:
    """Return the record at `offset` with the one bit flipped back that makes its checksum hold, or None."""
    head = bytearray(log[offset : offset + HEADER_BYTES])
    if len(head) < HEADER_BYTES or offset + HEADER_BYTES > end:
        return None
    for place in range(_LENGTHS.start * 8, _LENGTHS.stop * 8):
        head[place // 8] ^= 1 << place % 8
        size = _size(head)
        if offset + size <= end:
            whole = bytes(head) + log[offset + HEADER_BYTES : offset + size]
            if checksum_of(whole[PREFIX_BYTES:]) == int.from_bytes(whole[:8], "little"):
                return whole
        head[place // 8] ^= 1 << place % 8
    size = _size(head)
    return _of_right_size(log[offset : offset + size]) if offset + size <= end else None


def _of_right_size(damaged: bytes) -> bytes | None:
    """Do that for a record whose lengths are right."""
    body, wanted = bytearray(damaged[PREFIX_BYTES:]), int.from_bytes(damaged[:8], "little")
    checksum = checksum_of(body)
    if (checksum ^ wanted).bit_count() == 1:
        return checksum.to_bytes(8, "little") + damaged[8:]
    for place in range(8 * len(body) if len(body) <= _MOST_TRIED else 0):
        body[place // 8] ^= 1 << place % 8
        if checksum_of(body) == wanted:
            return damaged[:PREFIX_BYTES] + body
        body[place // 8] ^= 1 << place % 8
    return None


def _size(head: bytes | bytearray) -> int:
    """Return the size of the record that begins so."""
    _, _, value_bytes, key_bytes, _, _, _ = unpack_header(head)
    return HEADER_BYTES + int(value_bytes) + int(key_bytes)
