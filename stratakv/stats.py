"""Figures about a store, as values."""

from __future__ import annotations

from dataclasses import dataclass

from stratakv.control import W_GENERATION, W_LOGGED, W_SYNCED, W_TIP, W_USED, Figure
from stratakv.files import now_ms
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.lost_found import lost_found_bytes
from stratakv.segment import Segment
from stratakv.store import Store


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """One segment: `kind` is "active", "young" or "main"; sizes in bytes, `keys` as its index has them.

    dead_bytes: of its log, what newer records hide and tombstones, as far as maintenance has counted them;
    what has expired is not among them. live_bytes: the rest. age: seconds since its first record at most.
    """

    number: int
    kind: str
    keys: int
    log_bytes: int
    index_bytes: int
    live_bytes: int
    dead_bytes: int
    age: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The state of a store.

    keys: keys summed over the segments: at least as many as are live, since older versions and
    tombstones count as well. disk_bytes: blocks taken, as `du` counts, without those of
    lost+found, lost_found_bytes. max_bytes: the budget, 0 for none.
    log_bytes: records and headers; live_bytes and dead_bytes add up to them, see `SegmentStats`.
    unsynced_bytes: of the active log, not yet known to be on disk. hits, misses, records_written,
    bytes_written, rewritten_bytes (logs that maintenance wrote), evicted_keys, damaged_reads: summed over
    all processes since the machine started. What another one has done counts after its next interval, or
    else its hits with its next miss or change of structure, its records with some dozens more of them.
    write_amplification: bytes of log that were written, by maintenance too, for each byte that writers
    wrote; None before the first. age: seconds since the oldest entry was written, at most.
    """

    path: str
    durability: str
    generation: int
    keys: int
    disk_bytes: int
    lost_found_bytes: int
    max_bytes: int
    log_bytes: int
    live_bytes: int
    dead_bytes: int
    unsynced_bytes: int
    hits: int
    misses: int
    hit_ratio: float | None
    records_written: int
    bytes_written: int
    rewritten_bytes: int
    write_amplification: float | None
    evicted_keys: int
    damaged_reads: int
    age: float
    segments: tuple[SegmentStats, ...]


def collect(store: Store) -> Stats:
    control = store.control
    store.publish()
    view = store.structure.current()
    words = control.words
    tip, synced = words[W_TIP], words[W_SYNCED]
    now = now_ms()
    active = _active(view.active, words[W_USED], tip & OFFSET_MASK, now)
    segments = (active, *(_sealed(segment, now) for segment in view.sealed))
    same = synced >> OFFSET_BITS == tip >> OFFSET_BITS
    hits, misses = control.total(Figure.HITS), control.total(Figure.MISSES)
    written, rewritten = words[W_LOGGED] + (tip & OFFSET_MASK), control.total(Figure.REWRITTEN)
    return Stats(
        path=str(store.directory.path),
        durability=str(store.options.durability),
        generation=words[W_GENERATION],
        keys=sum(segment.keys for segment in segments),
        disk_bytes=store.directory.used(),
        lost_found_bytes=lost_found_bytes(store.directory),
        max_bytes=view.manifest.max_bytes,
        log_bytes=sum(segment.log_bytes for segment in segments),
        live_bytes=sum(segment.live_bytes for segment in segments),
        dead_bytes=sum(segment.dead_bytes for segment in segments),
        unsynced_bytes=max(0, tip - synced) if same else tip & OFFSET_MASK,
        hits=hits,
        misses=misses,
        hit_ratio=hits / (hits + misses) if hits + misses else None,
        records_written=control.total(Figure.WRITES),
        bytes_written=written,
        rewritten_bytes=rewritten,
        write_amplification=(written + rewritten) / written if written else None,
        evicted_keys=control.total(Figure.EVICTED),
        damaged_reads=control.total(Figure.DAMAGE),
        age=max(segment.age for segment in segments),
        segments=segments,
    )


def _active(segment: Segment, keys: int, tip: int, now: int) -> SegmentStats:
    return SegmentStats(
        number=segment.number,
        kind="active",
        keys=keys,
        log_bytes=tip,
        index_bytes=segment.arrays.shape.size,
        live_bytes=tip,
        dead_bytes=0,
        age=_age(segment.header.began, now),
    )


def _age(began: int, now: int) -> float:
    """Return the seconds since `began`; 0 where the clock was set back to before that."""
    return max(0, now - began) / 1000


def _sealed(segment: Segment, now: int) -> SegmentStats:
    entry = segment.sealed_entry
    dead = min(entry.size, entry.dead + entry.tombstones)
    return SegmentStats(
        number=segment.number,
        kind=entry.kind,
        keys=entry.keys,
        log_bytes=entry.size,
        index_bytes=segment.arrays.shape.size,
        live_bytes=entry.size - dead,
        dead_bytes=dead,
        age=_age(entry.began, now),
    )
