"""Doing one task of the plan; whoever does it holds maintenance.lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress

from stratakv import key_order
from stratakv.budget import left_by_split
from stratakv.control import Figure
from stratakv.directory import SIEVE_NAME
from stratakv.errors import CorruptionError
from stratakv.files import now_ms
from stratakv.maintenance.blocks import range_prefixes
from stratakv.maintenance.early_end import NoRoomError, Pace, SupersededError
from stratakv.maintenance.evict import Retirement, current, ghosts_for, job_of_main, job_of_young
from stratakv.maintenance.finish import finish
from stratakv.maintenance.merge import Job, Merger, job_of
from stratakv.maintenance.room import Room
from stratakv.maintenance.sift import sift
from stratakv.maintenance.split import Split, ranks_for
from stratakv.maintenance.task import Task, disk_bytes, generations, live
from stratakv.manifest import Edit, SegmentKind
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock

_FUTILE = 8  # a retirement that frees less than one in so many bytes of its segment


class Tasks:
    """What can be done to the segments of one store.

    sync: makes all that is committed durable. It is called before a record goes because of a newer one: that
    must not be lost in a power cut while this one is gone.
    """

    def __init__(
        self, structure: Structure, writer_lock: WriterLock, sync: Callable[[], None], pace: Pace
    ) -> None:
        self._structure = structure
        self._writer_lock = writer_lock
        self._sync = sync
        self._pace = pace
        self._room = Room(structure, writer_lock)
        self._take = self._room.take
        self._merger = Merger(structure, writer_lock, pace, self._take)

    def do(self, task: Task) -> None:
        """Do one task; raises SupersededError where its segments have gone meanwhile.

        Where the budget has no room for what it would write, the oldest segment is dropped in its place.
        """
        try:
            self._do(task)
        except NoRoomError:
            with self._writer_lock.hold() as held:
                self._structure.drop_oldest(held, held.view.manifest.segments[-1:])

    def _do(self, task: Task) -> None:
        view = self._structure.current()
        by_number = {segment.number: segment for segment in view.sealed}
        if not by_number.keys() >= set(task.numbers):
            raise SupersededError
        inputs = [by_number[number] for number in task.numbers]
        if task.kind == "finish":
            finish(self._structure, self._writer_lock, view, inputs[0], self._pace, self._take)
        elif task.kind == "retire":
            self._retire(view, job_of_young(view, inputs), young=True)
        elif task.kind == "evict":
            self._retire(view, job_of_main(view, inputs), young=False)
        elif task.kind == "split":
            self._split(view, inputs[0])
        elif task.kind == "sweep":
            self.sweep(view, inputs)
        elif task.kind == "sieve":
            self._sieve(view, inputs)
        elif task.kind == "adopt":
            self._adopt(inputs[0])
        elif task.kind == "drop" and self._may_drop(view, inputs[0]):
            self._drop(view, inputs[0])
        else:
            self.merge(view, inputs)

    def _sieve(self, view: View, segments: Sequence[Segment]) -> None:
        """Make the sieve of these segments, or remove that of none, and let all processes know it."""
        structure, directory = self._structure, self._structure.directory
        if segments:
            try:
                with suppress(NoRoomError):  # there was, when this was chosen
                    sift(directory, segments, view.manifest.max_bytes, self._pace, self._take)
            except CorruptionError:
                if any(map(structure.heal, segments)):
                    raise SupersededError from None  # by segments with a new index
                raise
        else:
            directory.discard(directory.path / SIEVE_NAME)
        with self._writer_lock.hold() as held:
            structure.install(held, Edit())

    def _adopt(self, segment: Segment) -> None:
        with self._writer_lock.hold() as held:
            now = {entry.number: entry for entry in held.view.manifest.segments}
            if segment.number not in now:
                raise SupersededError
            adopted = dataclasses.replace(now[segment.number], kind="main")
            self._structure.install(held, Edit(drop={segment.number}, add=(adopted,)))

    def _retire(self, view: View, what: Job, *, young: bool) -> None:
        """Retire one input of a job: of it, only what was read moves on. The other one, if any, stays whole.

        It is the newest input where a young segment is retired, the oldest where a main one is.
        """
        inputs = what.inputs
        retired = inputs[0 if young else -1]
        table = ghosts_for(view, self._structure.directory, self._take)
        retirement = Retirement(view, table, now_ms())
        chosen = retirement.of_young if young else retirement.of_main
        blocks = [chosen(each) if each is retired else self._merger.whole(view, each) for each in inputs]
        made = self._merger.run(view, what, blocks, before_install=self._sync)
        retirement.end()
        self._structure.control.row[Figure.EVICTED] += retirement.keys
        freed = sum(segment.end for segment in inputs) - (made.size if made else 0)
        left, _ = generations(view.manifest.segments)
        if not young and left and freed * _FUTILE < retired.end:
            # All of it was wanted. To ask the next main segment would go round in a circle.
            self.do(Task("retire", (left[-1].number,)))

    def _split(self, view: View, segment: Segment) -> None:
        """Put parts in the place of an oversized segment, of what is to stay of it."""
        max_bytes, older, entry = view.manifest.max_bytes, view.older_than(segment), segment.sealed_entry
        others = self._room.used(view) - self._structure.directory.used_by(segment.number)
        living = disk_bytes(live(entry), entry.keys)
        left = None if older else left_by_split(max_bytes, others, living)
        split = Split(segment, older, max_bytes, left)
        ranks = ranks_for(view, segment, split.most_parts)
        if len(ranks) < split.most_parts:
            raise SupersededError  # the active segment has become another one
        blocks = current(view, segment, self._merger.whole(view, segment))
        unused, lowest = iter(ranks[:-1]), ranks[-1]
        try:
            for part in split.parts(blocks):
                self._check_budget(max_bytes)
                rank = next(unused, None)
                if rank is None:
                    raise SupersededError  # more of it is current than was known: the next try makes the rest
                self._merger.run(view, split.job(rank), [part])
            if older and segment.ranges:
                self._merger.run(view, split.job(lowest, range_prefixes([segment])), [iter(())])
        except NoRoomError:
            if left is None:
                raise SupersededError from None  # others have written meanwhile
            split.dropped += entry.keys - split.seen
        self._check_budget(max_bytes)
        self._drop(view, segment)
        self._structure.control.row[Figure.EVICTED] += split.dropped

    def _check_budget(self, max_bytes: int) -> None:
        """Raise SupersededError where the store has got another one."""
        if self._structure.current().manifest.max_bytes != max_bytes:
            raise SupersededError

    def merge(self, view: View, inputs: list[Segment]) -> None:
        """Make one segment of neighbours."""
        self._merger.run(view, job_of(view, inputs, _kind_of(view, inputs)))

    def sweep(self, view: View, inputs: list[Segment]) -> None:
        """Make one segment of neighbours, without what newer segments hide."""
        job = dataclasses.replace(job_of(view, inputs, _kind_of(view, inputs)), swept=True)
        blocks = [current(view, each, self._merger.whole(view, each)) for each in inputs]
        self._merger.run(view, job, blocks, before_install=self._sync)

    def _may_drop(self, view: View, segment: Segment) -> bool:
        """Whether nothing older could come back; else a merge finds out what must be hidden on."""
        return segment is view.sealed[-1] or is_hidden(view, segment)

    def _drop(self, view: View, segment: Segment) -> None:
        floor = segment.header.newest + 1 if segment is view.sealed[-1] else 0
        self._sync()
        with self._writer_lock.hold() as held:
            if segment.number not in held.view.manifest.numbers():
                raise SupersededError
            self._structure.install(held, Edit(drop={segment.number}, floor=floor))
        self._structure.directory.remove(segment.number)


def _kind_of(view: View, inputs: list[Segment]) -> SegmentKind:
    """Return what is made of `inputs`: in a store with a budget what is young stays so."""
    young, _ = generations(view.manifest.segments)
    numbers = {entry.number for entry in young}
    stays = view.manifest.max_bytes and all(segment.number in numbers for segment in inputs)
    return "young" if stays else "main"


def is_hidden(view: View, segment: Segment) -> bool:
    """Whether younger range tombstones cover all of a segment, and all that its own ones cover."""
    prefixes = view.hidden.get(segment.number)
    if not prefixes or not all(each.startswith(prefixes) for each in segment.ranges):
        return False
    try:
        bounds = key_order.bounds(segment)
    except CorruptionError:
        return False
    return bounds is not None and any(all(key.startswith(p) for key in bounds) for p in prefixes)
