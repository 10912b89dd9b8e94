"""A log as a segment: its header, its records, its index built, its keys looked up and merged."""

from __future__ import annotations

from contextlib import suppress

from fuzz import mending, places
from stratakv import key_order
from stratakv.build import build_in_memory
from stratakv.errors import CorruptionError
from stratakv.index import hash_key
from stratakv.log import LogHeader
from stratakv.lookup import lookup
from stratakv.maintenance import blocks
from stratakv.manifest import Entry
from stratakv.segment import Segment
from stratakv.segment_files import open_log

_directory = places.directory()


def run(data: bytes) -> None:
    how, log = data[:1], data[1:]
    if how in b"mo":
        ordered = b"\3" if how == b"o" else b"\0"
        log = mending.log(log[:16].ljust(16, b"\0") + b"\1" + bytes(7) + log[24:56] + ordered + log[57:])
    header = LogHeader.unpack(log)
    if header is not None:
        assert header.pack()[:56] == log[:56]
    _directory.log_path(1).write_bytes(log)
    with suppress(CorruptionError):
        segment = open_log(_directory, 1, _entry(len(log)), write=False)
        segment.read_ranges()
        _use(segment)


def _entry(size: int) -> Entry:
    return Entry(1, "young", 0, 0, size, 0, 0)


def _use(segment: Segment) -> None:
    build_in_memory(segment, ordered=True)
    keys = {found.key: found.offset for found in segment.records() if found.kind <= 2}
    for key, offset in keys.items():
        found = lookup(segment, key, hash_key(key)[0])
        assert found is not None
        assert segment.header.ordered or found.offset == offset
    if not segment.header.ordered:
        assert segment.latest(segment.end) == keys
        assert [found.key for found in key_order.in_order(segment, b"", lambda *damaged: None)] == sorted(
            keys
        )
    list(key_order.in_order(segment, b"k", lambda *damaged: None))
    key_order.bounds(segment)
    merged = [item[0] for block in blocks.merged([blocks.in_key_order(segment)]) for item in block]
    assert segment.header.ordered or merged == sorted(keys)
