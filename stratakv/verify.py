"""Checking everything that can be checked, while others read and write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stratakv import manifest
from stratakv.control import (
    W_BUSY,
    W_CHAIN,
    W_GENERATION,
    W_INDEXED,
    W_MAGIC,
    W_NEXT,
    W_STATE,
    W_SYNCED,
    W_TIP,
    W_USED,
    State,
)
from stratakv.directory import (
    CONTROL_NAME,
    FORMAT_NAME,
    MANIFEST_NAME,
    Directory,
)
from stratakv.errors import CorruptionError, StrataKVError, reported
from stratakv.interrupted import check_refused
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.progress import Progress
from stratakv.resume import MOST_AHEAD
from stratakv.snapshots import Snapshots
from stratakv.soundness import Condition, Damage, check, note_index
from stratakv.view import View
from stratakv.views import Views

_LOOKS = 10  # at words that writers may be about to change


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at, and what was found. Sizes in bytes.

    damage: what is not as it was written. repaired: what was not, and is again, or has been removed so that
    nothing wrong can be read. lost_records: how many were removed; their keys read as missing.
    """

    segments: int
    records: int
    log_bytes: int
    damage: tuple[Damage, ...]
    repaired: tuple[Damage, ...] = ()
    lost_records: int = 0

    @property
    def ok(self) -> bool:
        return not self.damage


@dataclass(slots=True)
class Inspection:
    """Everything that was found: in the single files, and in each segment, newest first."""

    view: View
    files: list[Damage]
    segments: list[Condition]

    def damage(self) -> tuple[Damage, ...]:
        return (*self.files, *(one for found in self.segments for one in found.damage))

    def report(self, repaired: tuple[Damage, ...] = (), lost_records: int = 0) -> VerifyReport:
        size = sum(found.end for found in self.segments)
        records = sum(found.records for found in self.segments)
        return VerifyReport(len(self.segments), records, size, self.damage(), repaired, lost_records)


def verify(snapshots: Snapshots, progress: Progress) -> VerifyReport:
    """Read every file of the store and compare the logs with their indexes."""
    with reported(snapshots.views.directory.path):
        return inspect(snapshots, progress).report()


def inspect(snapshots: Snapshots, progress: Progress) -> Inspection:
    views = snapshots.views
    files = list(_check_files(views.directory))
    try:
        view, tip = snapshots.take()
    except CorruptionError as problem:
        files.append(Damage(problem.path, problem.offset, problem.reason))
        view = views.current()
        tip, _, _ = view.active.filled()
    ends = {segment: segment.end for segment in view.sealed} | {view.active: tip}
    total, done = sum(ends.values()), 0

    def reached(offset: int) -> None:
        progress(done + offset, total)

    segments = []
    for segment, end in ends.items():
        segments.append(check(views.directory, segment, end, reached))
        reached(end)
        done += end
    inspection = Inspection(view, files, segments)
    _leave_out_gone(views, inspection)
    active = next(found for found in segments if found.segment is view.active)
    _check_reach(views, active)
    files += _check_control(views, active)
    return inspection


def _check_reach(views: Views, active: Condition) -> None:
    """Check where the slots lead in what has been written since we began; a slot is set after the tip."""
    tip = views.control.words[W_TIP]  # once: it may be in another segment the next moment
    same = tip >> OFFSET_BITS == active.segment.number
    if same and active.furthest >= max(tip & OFFSET_MASK, active.end):
        note_index(active, "one of its slots leads beyond the end of the log")


def _leave_out_gone(views: Views, inspection: Inspection) -> None:
    """Forget what was found in segments that have left the store meanwhile, and whose files are gone."""
    named = views.current().manifest.numbers()
    for found in inspection.segments:
        if found.segment.number not in named:
            found.damage.clear()


# -- single files --------------------------------------------------------------------------------------


def _check_files(directory: Directory) -> Iterator[Damage]:
    """Check FORMAT and MANIFEST. GHOSTS and SIEVE are never synced: what a power cut leaves is no damage."""
    path = directory.path
    try:
        if not directory.is_store():
            yield Damage(str(path / FORMAT_NAME), 0, "the file is missing")
    except StrataKVError as problem:
        yield Damage(str(path / FORMAT_NAME), 0, str(problem))
    try:
        manifest.load(directory)
    except CorruptionError as problem:
        yield Damage(problem.path, problem.offset, problem.reason)
    except StrataKVError as problem:
        yield Damage(str(path / MANIFEST_NAME), 0, str(problem))


def _check_control(views: Views, active: Condition) -> Iterator[Damage]:
    """Compare the words that follow from something else with that.

    Writers change some of them while we look: what is wrong stays so.
    """
    path = views.directory.path / CONTROL_NAME
    try:
        with views.directory.open(path, write=False) as file:
            same = views.files.identity(file.fileno()) == views.control.identity
    except (OSError, StrataKVError) as problem:
        check_refused(problem)
        yield Damage(str(path), 0, str(problem))
        return
    if not same:
        yield Damage(str(path), 0, "the file was deleted or replaced; all processes must reopen the store")
    wrong = set(_wrong_words(views, active))
    for _ in range(_LOOKS):
        if wrong:
            wrong &= set(_wrong_words(views, active))
    for word, reason in sorted(wrong):
        yield Damage(str(path), 8 * word, reason)


def _wrong_words(views: Views, active: Condition) -> Iterator[tuple[int, str]]:
    words = views.control.words
    if not views.control.is_sound():
        yield W_MAGIC, "this is not the header of CONTROL"
    if not views.control.is_from(views.files.boot_id()):
        yield W_MAGIC, "CONTROL is not that of this boot"
    if words[W_STATE] not in (State.OPEN, State.CLEAN):  # who may not write leaves it closed
        yield W_STATE, "the state is not that of an open store"
    if words[W_BUSY] > 1:
        yield W_BUSY, "this word is 0 or 1"
    if words[W_BUSY]:
        return  # what follows is being changed, or was when its writer died, and is mended by the next one
    view, tip = views.current(), words[W_TIP]
    if words[W_GENERATION] != view.generation:
        yield W_GENERATION, "the generation is not that of the manifest"
    if tip >> OFFSET_BITS != view.active.number or tip & OFFSET_MASK > view.active.end:
        yield W_TIP, "the tip is not in the segment being written"
    if words[W_INDEXED] != tip:
        yield W_INDEXED, "the index does not reach to the tip"
    if words[W_SYNCED] > tip:
        yield W_SYNCED, "more is said to be on disk than was written"
    if not 0 <= words[W_NEXT] - view.manifest.next_number <= MOST_AHEAD:
        yield W_NEXT, "the number of the next segment cannot be"
    if view.active is active.segment and tip & OFFSET_MASK == active.end and not active.unsound:
        if words[W_CHAIN] != active.chain:
            yield W_CHAIN, "the link that comes next is not that of the last record"
        if words[W_USED] != len(active.newest):
            yield W_USED, "the index is said to have another number of keys than it has"
