"""A compaction: each live key is left once, in one segment or, with a budget, in some fit to be evicted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from stratakv.budget import SEGMENTS
from stratakv.control import W_TIP
from stratakv.files import now_ms
from stratakv.log import OFFSET_MASK
from stratakv.maintenance.early_end import NoRoomError, Pace, SupersededError
from stratakv.maintenance.evict import is_current
from stratakv.maintenance.task import Task, generations
from stratakv.maintenance.tasks import Tasks
from stratakv.orphans import remove_orphans
from stratakv.progress import Progress
from stratakv.record import is_live
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock

_TO_THE_BUDGET = ("adopt", "retire", "finish", "split", "evict", "sieve")  # tasks that bring a store to it


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did. Sizes are of logs, in bytes; `records` counts what is left."""

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    records: int


def compact(
    structure: Structure,
    writer_lock: WriterLock,
    sync: Callable[[], None],
    next_task: Callable[[], Task | None],
    progress: Progress,
) -> CompactionReport:
    """Compact a store; the caller holds maintenance.lock.

    sync: makes all that is committed durable. next_task: returns what maintenance is to do now.
    """
    view = _sealed(structure, writer_lock)
    before = sum(segment.end for segment in view.sealed)
    tasks = Tasks(structure, writer_lock, sync, _pace(progress, before))
    try:
        for numbers in _groups(view):
            _compact(structure.current(), numbers, tasks)
        while (task := next_task()) and task.kind in _TO_THE_BUDGET:
            tasks.do(task)
    except SupersededError:  # cleared meanwhile: there is nothing left to compact
        pass
    after = [segment.sealed_entry for segment in structure.current().sealed]
    return CompactionReport(
        segments_before=len(view.sealed),
        segments_after=len(after),
        bytes_before=before,
        bytes_after=sum(entry.size for entry in after),
        records=sum(entry.keys for entry in after),
    )


def _sealed(structure: Structure, writer_lock: WriterLock) -> View:
    """Return a view whose sealed segments have all records of this moment."""
    with writer_lock.hold() as held:
        if structure.control.words[W_TIP] & OFFSET_MASK > held.view.active.start:
            structure.rotate(held)
        # Nobody makes a segment now, so what the manifest does not name was left by one who died.
        remove_orphans(structure.directory, held.view.manifest)
        return held.view


def _compact(view: View, numbers: set[int], tasks: Tasks) -> None:
    """Make one segment of those with these numbers, where that gives anything back."""
    inputs = [segment for segment in view.sealed if segment.number in numbers]
    if len(inputs) < len(numbers):
        raise SupersededError  # pragma: no cover: cleared between two groups
    if len(inputs) == 1 and _is_clean(view, inputs[0]):
        return
    if view.manifest.max_bytes:
        with suppress(NoRoomError):  # nothing that lives goes for a compaction
            tasks.sweep(view, inputs)
    elif inputs:
        tasks.merge(view, inputs)


def _groups(view: View) -> list[set[int]]:
    """Return the numbers of the segments that a compaction makes one of, newest first.

    In a store with a budget those are as large as eviction takes them.
    """
    entries, max_bytes = view.manifest.segments, view.manifest.max_bytes
    if not max_bytes:
        return [{entry.number for entry in entries}] if entries else []
    groups: list[set[int]] = []
    for generation in generations(entries):
        size = max_bytes
        for entry in generation:
            if size + entry.size > max_bytes // SEGMENTS:
                groups.append(set())
                size = 0
            groups[-1].add(entry.number)
            size += entry.size
    return groups


def _is_clean(view: View, segment: Segment) -> bool:
    """Whether a merge of this segment alone would change nothing.

    So it is where it was merged before, and nothing has expired since or has a newer version in another one.
    """
    if not segment.header.ordered or segment.ranges:
        return False
    now, newer = now_ms(), view.among(view.newer_than(segment))
    return all(is_live(found.expiry, now) and is_current(newer, found.key) for found in segment.records())


def _pace(progress: Progress, total: int) -> Pace:
    """Return what tells `progress` how much of `total` bytes has been read."""
    done = 0

    def read(step: int) -> None:
        nonlocal done
        done = min(total, done + step)
        progress(done, total)

    return read
