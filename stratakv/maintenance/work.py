"""Maintenance as it runs: one task after the other, by whoever holds maintenance.lock.

Every task can be stopped anywhere without harm: nothing names what it writes until the manifest does, and
the next one to be elected removes what is left of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stratakv.budget import SEGMENTS
from stratakv.commit import Exclusive
from stratakv.control import OFFSET_MASK, W_GENERATION, W_LOGGED, W_TIP
from stratakv.control import Counter as Figure
from stratakv.errors import CorruptionError, reported
from stratakv.files import now_ms
from stratakv.locks import FileLock
from stratakv.maintenance import plan
from stratakv.maintenance.early_end import Pace, StoppedError, SupersededError
from stratakv.maintenance.plan import Limits, Task
from stratakv.maintenance.room import Room
from stratakv.maintenance.tasks import Tasks, is_hidden
from stratakv.orphans import remove_orphans
from stratakv.progress import Progress
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.view import View

logger = logging.getLogger("stratakv")

_LOOK = 0.1  # seconds between two looks for work
_REST = 1.0  # seconds without any, after which segments are merged for the sake of lookups
_AMPLIFICATION = 3.5  # what may be written for each byte that writers write, that included


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """How many segments were treated, and how.

    finished: got their final index. merged: tasks that made one segment of several. swept: written again
    without what was dead in them. dropped: dead as a whole. adopted: young ones that became main ones.
    retired, evicted: young and main ones that were given up for the budget, but for what had been read.
    """

    finished: int
    merged: int
    swept: int
    dropped: int
    adopted: int
    retired: int
    evicted: int


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did. Sizes are of logs, in bytes; `records` counts what is left."""

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    records: int


class Maintenance:
    """The maintenance of one store as one process may do it; at most one does at a time."""

    def __init__(self, structure: Structure, exclusive: Exclusive, sync: Callable[[], None]) -> None:
        self._structure = structure
        self._exclusive = exclusive
        self._sync = sync
        self._room = Room(structure, exclusive)
        self._lock: FileLock | None = None
        self._damaged: set[int] = set()  # segments that could not be read to their end
        self.forked()

    def forked(self) -> None:
        """Start with no thread at work, as a new process does; the parent's lock is left to the parent."""
        if self._lock:
            self._lock.close()
        self._lock = None
        self._turn = threading.Lock()

    @contextmanager
    def _elected(self, pace: Pace = lambda read: None) -> Iterator[None]:
        """Be the only one at work, whoever else wants to be. pace: what it raises ends the waiting."""
        with self._turn:
            self._structure.check_in_place()  # before a lock is made where somebody else's files are now
            self._lock = lock = FileLock(self._structure.directory, "maintenance.lock", write=True)
            try:
                while not lock.try_exclusive():
                    pace(0)
                    time.sleep(_LOOK)
                self._structure.check_in_place()
                yield
            finally:
                self._lock = None
                lock.free()

    def is_free(self) -> bool:
        """Whether nobody is at work just now; raises RemovedError."""
        self._structure.check_in_place()
        lock = FileLock(self._structure.directory, "maintenance.lock", write=True)
        try:
            return lock.try_exclusive()
        finally:
            lock.free()

    # -- what is due -------------------------------------------------------------------------------------

    def next_task(self, *, at_rest: bool = False) -> Task | None:
        """Return what is to be done now; at_rest: there has been nothing to do for a while."""
        view = self._structure.current()
        hidden = [s.number for s in view.sealed if is_hidden(view, s)]
        return plan.pick(view.manifest.segments, hidden, self._damaged, self._limits(view, at_rest=at_rest))

    def is_due(self) -> bool:
        """Whether there is something to do now, or at a time that is known."""
        return self.next_task() is not None or self.seconds_left() is not None

    def seconds_left(self) -> float | None:
        """Return in how many seconds there will be something to do if nobody writes; None: not foreseen."""
        now = now_ms()
        due = plan.due(self._structure.current().manifest.segments, now)
        return None if due is None else (due - now) / 1000

    def _limits(self, view: View, *, at_rest: bool) -> Limits:
        max_bytes, used = view.manifest.max_bytes, 0
        free = self._structure.files.free(self._structure.directory.path)
        if max_bytes:
            used = self._room.used(view)
            free = min(free, self._room.left(view, used))
        spare = self._spare() if at_rest else 0
        return Limits(max_bytes, used, free, view.active.end, self._structure.capacity(), now_ms(), spare)

    def _spare(self) -> int:
        """Return how many bytes may be rewritten before the amplification is as high as it may be."""
        control = self._structure.control
        written = control.words[W_LOGGED] + (control.words[W_TIP] & OFFSET_MASK)
        return int((_AMPLIFICATION - 1) * written) - control.total(Figure.REWRITTEN)

    # -- doing it ----------------------------------------------------------------------------------------

    def run(self, linger: float, pace: Pace) -> MaintenanceReport:
        """Do whatever is due, and for `linger` seconds after that what becomes due.

        A StoppedError of `pace` ends it: the task at hand is given up, and what it has written is removed.
        Raises CorruptionError where a log was found to be damaged, after all the rest is done.
        """
        with reported(self._structure.directory.path):
            return self._run(linger, pace)

    def _run(self, linger: float, pace: Pace) -> MaintenanceReport:
        done: Counter[str] = Counter()
        damage: list[CorruptionError] = []
        try:
            self._go_on(linger, pace, done, damage)
        except StoppedError:  # what is damaged was logged
            return _report(done)
        if damage:
            raise damage[0]
        return _report(done)

    def _go_on(self, linger: float, pace: Pace, done: Counter[str], damage: list[CorruptionError]) -> None:
        self._tidy(pace)
        idle_since = time.monotonic()
        while True:
            self._structure.check_in_place()
            idle = time.monotonic() - idle_since
            if self._step(done, damage, pace, at_rest=min(idle, linger) >= _REST):
                idle_since = time.monotonic()
            elif idle >= linger:
                return
            else:
                pace(0)
                self._wait(min(_LOOK, linger))

    def _wait(self, seconds: float) -> None:
        """Wait for a change of structure, for a segment to expire, or so long."""
        words, before = self._structure.control.words, self._structure.view.generation
        left = self.seconds_left()
        time.sleep(seconds if left is None or words[W_GENERATION] != before else min(seconds, max(0.0, left)))

    def _step(self, done: Counter[str], damage: list[CorruptionError], pace: Pace, *, at_rest: bool) -> bool:
        """Do one task, if there is one; return whether there was."""
        if self.next_task(at_rest=at_rest) is None:
            return False
        with self._elected(pace):
            self._remove_left()
            task = self.next_task(at_rest=at_rest)  # another process may have been faster
            if task is None:
                return False
            try:
                Tasks(self._structure, self._exclusive, self._sync, pace).do(task)
                done[task.kind] += 1
                logger.info("%s: segments %s done", task.kind, ", ".join(map(str, task.numbers)))
            except SupersededError:
                logger.info(
                    "%s: segments %s have gone meanwhile", task.kind, ", ".join(map(str, task.numbers))
                )
            except CorruptionError as error:
                logger.error("%s; its segment is left as it is", error)
                broken = {number for number in task.numbers if Path(error.path).stem == f"{number:06d}"}
                self._damaged.update(broken or task.numbers)
                damage.append(error)
        return True

    def _tidy(self, pace: Pace) -> None:
        """Remove what one who was elected before has left unfinished."""
        with self._elected(pace), self._exclusive.hold() as held:
            remove_orphans(self._structure.directory, held.view.manifest)

    def _remove_left(self) -> None:
        """Remove the segments of one who was killed since this one began, if there are any."""
        directory = self._structure.directory
        found = {*directory.numbers("log"), *directory.numbers("idx")}
        if found - self._structure.current().manifest.numbers():  # one may just be made
            with self._exclusive.hold() as held:
                remove_orphans(directory, held.view.manifest)

    # -- all at once -------------------------------------------------------------------------------------

    def compact(self, progress: Progress | None) -> CompactionReport:
        """Leave each live key once: in one segment or, with a budget, in segments fit to be evicted."""
        with reported(self._structure.directory.path), self._elected():
            with self._exclusive.hold() as held:
                if self._structure.control.words[W_TIP] & OFFSET_MASK > held.view.active.start:
                    self._structure.rotate(held)
                view = held.view
                # Nobody makes a segment now, so what the manifest does not name was left by one who died.
                remove_orphans(self._structure.directory, view.manifest)
            before = sum(segment.end for segment in view.sealed)
            tasks = Tasks(self._structure, self._exclusive, self._sync, _pace(progress, before))
            try:
                for group in _groups(view):
                    self._compact(tasks, group)
                while (task := self.next_task()) and task.kind in ("retire", "evict"):
                    tasks.do(task)
            except SupersededError:  # cleared meanwhile: there is nothing left to compact
                pass
            after = [segment.sealed_entry for segment in self._structure.current().sealed]
            return CompactionReport(
                segments_before=len(view.sealed),
                segments_after=len(after),
                bytes_before=before,
                bytes_after=sum(entry.size for entry in after),
                records=sum(entry.keys for entry in after),
            )

    def _compact(self, tasks: Tasks, numbers: set[int]) -> None:
        view = self._structure.current()
        inputs = [segment for segment in view.sealed if segment.number in numbers]
        if len(inputs) < len(numbers):
            raise SupersededError  # pragma: no cover: cleared between two groups
        if view.manifest.max_bytes:
            with tasks.in_budget():
                tasks.sweep(view, inputs)
        elif inputs and not (len(inputs) == 1 and _is_clean(inputs[0])):
            tasks.merge(view, inputs)


def _groups(view: View) -> list[set[int]]:
    """Return the numbers of the segments that a compaction makes one of, newest first.

    In a store with a budget those are as large as eviction takes them.
    """
    entries, max_bytes = view.manifest.segments, view.manifest.max_bytes
    if not max_bytes:
        return [{entry.number for entry in entries}] if entries else []
    groups: list[set[int]] = []
    for generation in plan.generations(entries):
        size = max_bytes
        for entry in generation:
            if size + entry.size > max_bytes // SEGMENTS:
                groups.append(set())
                size = 0
            groups[-1].add(entry.number)
            size += entry.size
    return groups


def _is_clean(segment: Segment) -> bool:
    """Whether a merge of this segment alone would change nothing: merged before, and nothing has expired."""
    if not segment.header.ordered or segment.ranges:
        return False
    now = now_ms()
    return all(not found.expiry or found.expiry > now for found in segment.records())


def _pace(progress: Progress | None, total: int) -> Pace:
    """Return what tells `progress` how much of `total` bytes has been read."""
    done = 0

    def read(step: int) -> None:
        nonlocal done
        done = min(total, done + step)
        if progress:
            progress(done, total)

    return read


def _report(done: Counter[str]) -> MaintenanceReport:
    return MaintenanceReport(
        finished=done["finish"],
        merged=done["merge"],
        swept=done["sweep"],
        dropped=done["drop"],
        adopted=done["adopt"],
        retired=done["retire"],
        evicted=done["evict"],
    )
