"""Checksums made to fit, so that what is behind them is reached."""

from __future__ import annotations

import struct

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

_RECORD = 28
_LOG_HEADER = 72
_INDEX_HEADER = 128


def records(data: bytes, link: int) -> bytes:
    """Return `data` as a chain of records: their lengths cut to what is there, checksums and links right."""
    out = bytearray(data)
    offset = 0
    while offset + _RECORD <= len(out):
        value_bytes, key_bytes = struct.unpack_from("<IH", out, offset + 12)
        room = len(out) - offset - _RECORD
        key_bytes = min(key_bytes, room)
        value_bytes = min(value_bytes, room - key_bytes)
        struct.pack_into("<IH", out, offset + 12, value_bytes, key_bytes)
        end = offset + _RECORD + key_bytes + value_bytes
        checksum = xxh3_64_intdigest(out[offset + 12 : end])
        struct.pack_into("<QI", out, offset, checksum, link)
        offset, link = end, checksum & 0xFFFF_FFFF
    return bytes(out[:offset])


def log_header(data: bytes) -> bytes:
    """Return the header of a log with its magic, its format and its checksum."""
    head = b"STRATALG" + struct.pack("<I", 1) + data[12:64].ljust(52, b"\0")
    return head + struct.pack("<Q", xxh3_64_intdigest(head))


def log(data: bytes) -> bytes:
    """Return a log with a sound header, and of sound records as far as they go."""
    header = log_header(data)
    return header + records(data[_LOG_HEADER:], struct.unpack_from("<I", header, 12)[0])


def index(data: bytes, number: int) -> bytes:
    """Return an index file that is sealed by its checksum, in so far as its header says where what is."""
    out = bytearray(data.ljust(_INDEX_HEADER, b"\0"))
    struct.pack_into("<8sQQ", out, 0, b"STRATAIX", 1, number)
    slots, words, _ = struct.unpack_from("<3Q", out, 24)
    bloom_end = _INDEX_HEADER + 8 * slots + 8 * words
    order = bloom_end + -(-slots // 8) * 8
    struct.pack_into("<Q", out, 72, 1)
    covered = bytes(out[:80] + out[_INDEX_HEADER:bloom_end] + out[order:])
    struct.pack_into("<Q", out, 80, xxh3_64_intdigest(covered))
    return bytes(out)


def manifest(body: bytes) -> bytes:
    """Return a manifest of this JSON, its checksum right."""
    text = body.decode("ascii", "replace").encode()
    return b"stratakv-manifest 1 " + xxh3_64_hexdigest(text).encode() + b"\n" + body + b"\n"
