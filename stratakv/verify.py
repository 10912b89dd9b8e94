"""Checking everything that can be checked, while others read and write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stratakv import index, manifest
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.errors import CorruptionError, StrataKVError
from stratakv.index import hash_key
from stratakv.progress import Progress
from stratakv.reader import lookup
from stratakv.record import TOMBSTONE
from stratakv.segment import Segment
from stratakv.structure import Structure

_STEP_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that cannot be what was written: in which file, at which byte, and why."""

    path: str
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at, and what was found. Sizes in bytes."""

    segments: int
    records: int
    log_bytes: int
    damage: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        return not self.damage


def verify(structure: Structure, progress: Progress | None) -> VerifyReport:
    """Read every log and every index of the store and compare them with each other."""
    damage: list[Damage] = []
    try:
        manifest.load(structure.directory)
    except StrataKVError as problem:
        damage.append(_damage(problem))
    view, tip = structure.now()
    ends = {segment: segment.end for segment in view.sealed} | {view.active: tip}
    total, done, records = sum(ends.values()), 0, 0
    for segment, end in ends.items():
        damage += _check_index(segment)
        try:
            for offset in _check_log(segment, end, damage):
                records += 1
                if progress and records % 4096 == 0:
                    progress(done + offset, total)
        except CorruptionError as problem:
            damage.append(_damage(problem))
        done += end
        if progress:
            progress(done, total)
    return VerifyReport(len(ends), records, total, tuple(damage))


def _damage(problem: StrataKVError) -> Damage:
    if isinstance(problem, CorruptionError):
        return Damage(problem.path, problem.offset, problem.reason)
    return Damage("MANIFEST", 0, str(problem))


def _check_index(segment: Segment) -> Iterator[Damage]:
    if segment.entry is not None and not index.is_sound(segment.arrays, segment.entry.size):
        yield _index_damage(
            segment, "the checksum of the index does not hold; reopening the store rebuilds it"
        )


def _index_damage(segment: Segment, reason: str) -> Damage:
    return Damage(str(segment.path.with_suffix(".idx")), 0, reason)


def _check_log(segment: Segment, end: int, damage: list[Damage]) -> Iterator[int]:
    """Yield the offset of each record of the log, and compare the index with the last one of each key."""
    latest: dict[bytes, int] = {}
    last_key = b""
    for found in segment.records(end):
        if found.kind > TOMBSTONE:
            continue
        yield found.offset
        if not segment.header.ordered:
            latest[found.key] = found.offset
            continue
        if found.key <= last_key:
            damage.append(Damage(str(segment.path), found.offset, "the keys are not in order"))
        last_key = found.key
        damage += _check_slot(segment, found.key, found.offset)
    for key, offset in latest.items():
        damage += _check_slot(segment, key, offset)
    order = segment.arrays.order
    if latest and len(order) and [latest[key] for key in sorted(latest)] != list(order):
        damage.append(_index_damage(segment, "its key order is not that of the log"))


def _check_slot(segment: Segment, key: bytes, offset: int) -> Iterator[Damage]:
    """The index must lead to this record, or, in a log still being written, to a later one."""
    first, second = hash_key(key)
    pattern = PATTERNS[second & PATTERN_MASK]
    passes = segment.bloom[first % segment.word_count] & pattern == pattern
    found = lookup(segment, key, first)
    if (
        not passes
        or found is None
        or found.offset < offset
        or (segment.entry is not None and found.offset != offset)
    ):
        yield _index_damage(segment, f"the record at byte {offset} is not found by it")
