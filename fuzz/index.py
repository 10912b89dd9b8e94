"""The index of a sound log: its sizes, then every way to be led by it."""

from __future__ import annotations

import struct
from contextlib import suppress

from fuzz import mending, places
from stratakv import index, record
from stratakv.errors import CorruptionError
from stratakv.index import hash_key
from stratakv.log import LogHeader, rank_of
from stratakv.maintenance import blocks
from stratakv.manifest import Entry
from stratakv.reader import lookup
from stratakv.segment import Segment, map_index, open_log

_KEYS = [b"k%d" % number for number in range(6)]


def _log() -> bytes:
    """A log with a range tombstone, six keys, one of which is deleted, and an END."""
    rank = rank_of(1)
    header = LogHeader(1, rank, rank, 0, 7, 0, ranges=1)
    data, link = record.range_tombstones([b"r"], 7)
    writes = [(record.PUT, key, b"value") for key in _KEYS]
    for kind, key, value in (*writes, (record.TOMBSTONE, _KEYS[0], b""), (record.END, b"", b"")):
        body = record.encode(kind | record.COMMIT, key, value, int(kind == record.TOMBSTONE))
        data += record.frame(body, record.checksum_of(body), link)
        link = record.checksum_of(body) & record.LINK_MASK
    return header.pack() + data


_directory = places.directory()
_LOG = _log()
_directory.log_path(1).write_bytes(_LOG)
_ENTRY = Entry(1, "young", 0, 0, len(_LOG), len(_KEYS), 0)


def run(data: bytes) -> None:
    how, file = data[:1], data[1:]
    if how == b"m" and len(file) > 4:
        slots, words, order, stride, *rest = file
        file = _fitted(slots, words, order, stride, bytes(rest))
    _directory.index_path(1).write_bytes(file)
    segment = open_log(_directory, 1, _ENTRY, write=False)
    segment.read_ranges()
    if map_index(_directory, segment, write=False) and index.is_sound(segment.arrays, len(_LOG)):
        _use(segment)


def _fitted(slots: int, words: int, order: int, stride: int, rest: bytes) -> bytes:
    """Return an index of these sizes, sealed; its arrays are `rest`, the slots with fingerprints of keys."""
    header = struct.pack("<24x3Q3Q56x", slots, words, order, stride, len(_KEYS), len(_LOG))
    size = 128 + 8 * slots + 8 * words + -(-slots // 8) * 8 + 8 * order
    arrays = bytearray(rest.ljust(size - 128, b"\0")[: size - 128])
    for place in range(min(slots, len(arrays) // 8)):
        # One byte of a slot tells the key whose fingerprint it bears; 40 bits cannot be guessed.
        tag = hash_key(_KEYS[arrays[8 * place + 7] % 6])[0] if arrays[8 * place + 7] else 0
        arrays[8 * place + 5 : 8 * place + 8] = (tag >> 40).to_bytes(3, "little")
    return mending.index(header + bytes(arrays), 1)


def _use(segment: Segment) -> None:
    for key in (*_KEYS, b"absent", b"r"):
        first, second = hash_key(key)
        segment.may_have(first, second)
        with suppress(CorruptionError):
            found = lookup(segment, key, first)
            assert found is None or segment.sound(found.offset).key == key
    with suppress(CorruptionError):
        list(segment.in_order(b"k3"))
    with suppress(CorruptionError):
        segment.bounds()
    with suppress(CorruptionError):
        list(blocks.merged([blocks.in_key_order(segment)]))
