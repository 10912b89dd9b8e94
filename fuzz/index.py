"""The index of a sound log: its sizes, then every way to be led by it."""

from __future__ import annotations

import struct
from contextlib import suppress

from fuzz import mending, places
from stratakv import index, key_order, record
from stratakv.errors import CorruptionError
from stratakv.index import hash_key
from stratakv.log import LogHeader, rank_of
from stratakv.lookup import lookup
from stratakv.maintenance import blocks
from stratakv.manifest import Entry
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log

_KEYS = [b"k%d" % number for number in range(6)]


def _log(number: int, *, ordered: bool) -> bytes:
    """A log with a range tombstone, six keys and an END; where it is not in their order, one is deleted."""
    rank = rank_of(1)
    header = LogHeader(number, rank, rank, 0, 7, 0, ordered=ordered, ranges=1)
    data, link = record.range_tombstones([b"r"], 7)
    writes = [(record.PUT, key, b"value") for key in _KEYS]
    writes += [] if ordered else [(record.TOMBSTONE, _KEYS[0], b"")]
    for kind, key, value in (*writes, (record.END, b"", b"")):
        body = record.encode(kind | record.COMMIT, key, value, int(kind == record.TOMBSTONE))
        data += record.frame(body, record.checksum_of(body), link)
        link = record.checksum_of(body) & record.LINK_MASK
    return header.pack() + data


_directory = places.directory()
_LOGS = {number: _log(number, ordered=number == 2) for number in (1, 2)}
for _number, _data in _LOGS.items():
    _directory.log_path(_number).write_bytes(_data)


def run(data: bytes) -> None:
    """An input is the index of log 1, m: in its parts; o: the same for log 2, which is in key order."""
    how, file = data[:1], data[1:]
    number = 2 if how == b"o" else 1
    size = len(_LOGS[number])
    if how in (b"m", b"o") and len(file) > 4:
        slots, words, order, stride, *rest = file
        file = _fitted((slots, words, order, stride), number, bytes(rest))
    _directory.index_path(number).write_bytes(file)
    entry = Entry(number, "young", 0, 0, size, len(_KEYS), 0, ordered=number == 2)
    segment = open_log(_directory, number, entry, write=False)
    segment.read_ranges()
    if map_index(_directory, segment, write=False) and index.is_sound(segment.arrays, size):
        _use(segment)


def _fitted(sizes: tuple[int, int, int, int], number: int, rest: bytes) -> bytes:
    """Return an index of these sizes, sealed; its arrays are `rest`, the slots with fingerprints of keys."""
    slots, words, order, _ = sizes
    header = struct.pack("<24x6Q56x", *sizes, len(_KEYS), len(_LOGS[number]))
    size = 128 + 8 * slots + 8 * words + -(-slots // 8) * 8 + 8 * order
    arrays = bytearray(rest.ljust(size - 128, b"\0")[: size - 128])
    for place in range(min(slots, len(arrays) // 8)):
        # One byte of a slot tells the key whose fingerprint it bears; 40 bits cannot be guessed.
        tag = hash_key(_KEYS[arrays[8 * place + 7] % 6])[0] if arrays[8 * place + 7] else 0
        arrays[8 * place + 5 : 8 * place + 8] = (tag >> 40).to_bytes(3, "little")
    return mending.index(header + bytes(arrays), number)


def _use(segment: Segment) -> None:
    for key in (*_KEYS, b"absent", b"r"):
        first, second = hash_key(key)
        segment.may_have(first, second)
        with suppress(CorruptionError):
            found = lookup(segment, key, first)
            assert found is None or segment.sound(found.offset).key == key
    with suppress(CorruptionError):
        list(key_order.in_order(segment, b"k3", lambda *damaged: None))
    with suppress(CorruptionError):
        key_order.bounds(segment)
    with suppress(CorruptionError):
        list(blocks.merged([blocks.in_key_order(segment)]))
