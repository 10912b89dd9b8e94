"""Figures about a store, as values."""

from __future__ import annotations

from dataclasses import dataclass

from stratakv.control import (
    OFFSET_MASK,
    POSITION_BITS,
    W_GENERATION,
    W_LOGGED,
    W_SYNCED,
    W_TIP,
    W_USED,
    Counter,
)
from stratakv.segment import Segment
from stratakv.store import Store


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """One segment: `kind` is "active", "young" or "main"; sizes in bytes, `keys` as its index has them."""

    number: int
    kind: str
    keys: int
    log_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The state of a store.

    keys: keys summed over the segments: at least as many as are live, since older versions and
    tombstones count as well. disk_bytes: blocks taken, as `du` counts. log_bytes: records and headers.
    unsynced_bytes: of the active log, not yet known to be on disk. hits, misses, records_written,
    bytes_written, damaged_reads: summed over all processes since the machine started.
    """

    path: str
    durability: str
    generation: int
    keys: int
    disk_bytes: int
    log_bytes: int
    unsynced_bytes: int
    hits: int
    misses: int
    hit_ratio: float | None
    records_written: int
    bytes_written: int
    damaged_reads: int
    segments: tuple[SegmentStats, ...]


def collect(store: Store) -> Stats:
    control, directory = store.control, store.directory
    store.publish()
    view = store.structure.current()
    words = control.words
    tip, synced = words[W_TIP], words[W_SYNCED]
    active = _active(view.active, words[W_USED], tip & OFFSET_MASK)
    segments = (active, *map(_sealed, view.sealed))
    names = directory.files.names(directory.path)
    same = synced >> POSITION_BITS == tip >> POSITION_BITS
    hits, misses = control.total(Counter.HITS), control.total(Counter.MISSES)
    return Stats(
        path=str(directory.path),
        durability=str(store.options.durability),
        generation=words[W_GENERATION],
        keys=sum(segment.keys for segment in segments),
        disk_bytes=sum(directory.files.allocated(directory.path / name) for name in names),
        log_bytes=sum(segment.log_bytes for segment in segments),
        unsynced_bytes=max(0, tip - synced) if same else tip & OFFSET_MASK,
        hits=hits,
        misses=misses,
        hit_ratio=hits / (hits + misses) if hits + misses else None,
        records_written=control.total(Counter.WRITES),
        bytes_written=words[W_LOGGED] + (tip & OFFSET_MASK),
        damaged_reads=control.total(Counter.DAMAGE),
        segments=segments,
    )


def _active(segment: Segment, keys: int, tip: int) -> SegmentStats:
    return SegmentStats(segment.number, "active", keys, tip, segment.arrays.shape.size)


def _sealed(segment: Segment) -> SegmentStats:
    assert segment.entry is not None
    size = segment.arrays.shape.size
    return SegmentStats(segment.number, segment.entry.kind, segment.entry.keys, segment.end, size)
