"""Maintenance as it runs: one task after the other, by whoever holds maintenance.lock.

Every task can be stopped anywhere without harm: nothing names what it writes until the manifest does, and
the next one to be elected removes what is left of it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stratakv.control import W_GENERATION, W_TIP
from stratakv.errors import CorruptionError, StoreBusyError, reported
from stratakv.forks import notice
from stratakv.interrupted import new_turn
from stratakv.locks import FileLock
from stratakv.log import OFFSET_MASK
from stratakv.maintenance.compaction import CompactionReport, compact
from stratakv.maintenance.due import Due
from stratakv.maintenance.early_end import Pace, StoppedError, SupersededError
from stratakv.maintenance.room import Room
from stratakv.maintenance.task import Task
from stratakv.maintenance.tasks import Tasks
from stratakv.orphans import remove_orphans
from stratakv.progress import Progress
from stratakv.structure import Structure
from stratakv.writer_lock import WriterLock

logger = logging.getLogger("stratakv")

_CHILDS_LOCK = "keep.lock"
_LOOK = 0.1  # seconds between two looks for work
_REST = 1.0  # seconds without any, after which segments are merged for the sake of lookups


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """How many segments were treated, and how.

    finished: got their final index. merged: tasks that made one segment of several. swept: written again
    without what was dead in them. dropped: dead as a whole. adopted: young ones that became main ones.
    retired, evicted: young and main ones that were given up for the budget, but for what had been read.
    split: main ones that were too large for that; only some of what had not been read was given up.
    """

    finished: int
    merged: int
    swept: int
    dropped: int
    adopted: int
    retired: int
    evicted: int
    split: int


@dataclass(slots=True)
class _Done:
    """What one run has done. tasks: how many of each kind. damage: the first that was met."""

    tasks: Counter[str] = field(default_factory=Counter)
    damage: CorruptionError | None = None

    def report(self) -> MaintenanceReport:
        return MaintenanceReport(
            finished=self.tasks["finish"],
            merged=self.tasks["merge"],
            swept=self.tasks["sweep"],
            dropped=self.tasks["drop"],
            adopted=self.tasks["adopt"],
            retired=self.tasks["retire"],
            evicted=self.tasks["evict"],
            split=self.tasks["split"],
        )


class Maintenance:
    """The maintenance of one store as one process may do it; at most one does at a time."""

    def __init__(self, structure: Structure, writer_lock: WriterLock, sync: Callable[[], None]) -> None:
        self._structure = structure
        self._writer_lock = writer_lock
        self._sync = sync
        self.due = Due(structure, Room(structure, writer_lock))
        self._lock: FileLock | None = None
        self.begin_process()

    def begin_process(self) -> None:
        """Start with no thread at work, as a new process does; the parent's lock is left to the parent."""
        if self._lock:
            self._lock.close()
        self._lock = None
        self._turn = new_turn()

    @contextmanager
    def elected(self, pace: Pace = lambda read: None) -> Iterator[None]:
        """Be the only one at work, whoever else wants to be. pace: what it raises ends the waiting."""
        notice()
        self._writer_lock.check_outside()  # whoever has maintenance.lock may be waiting for the writer lock
        turn = self._turn
        if turn._is_owned():  # it would wait for itself
            raise StoreBusyError(f"{self._structure.directory.path} is being maintained by this very thread")
        try:
            with turn:
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
        except BaseException:
            if turn._is_owned():  # see `interrupted.under`
                turn.release()
            raise

    def in_place(self) -> bool:
        """Whether the store is still there, and not removed or replaced."""
        return self._structure.in_place()

    def is_free(self) -> bool:
        """Whether nobody is at work just now, nor is there a child that only rests; raises RemovedError."""
        self._structure.check_in_place()
        return all(self._can_have(name) for name in ("maintenance.lock", _CHILDS_LOCK))

    def _can_have(self, name: str) -> bool:
        with FileLock(self._structure.directory, name, write=True) as lock:
            return lock.try_exclusive()

    # -- doing it ----------------------------------------------------------------------------------------

    def run(self, linger: float, pace: Pace) -> MaintenanceReport:
        """Do whatever is due, and for `linger` seconds after that what becomes due.

        A StoppedError of `pace` ends it: the task at hand is given up, and what it has written is removed.
        Raises CorruptionError where a log was found to be damaged, after all the rest is done.
        """
        done = _Done()
        with reported(self._structure.directory.path):
            with suppress(StoppedError):  # what is damaged was logged
                self._go_on(linger, pace, done)
                if done.damage:
                    raise done.damage
            return done.report()

    def keep(self, linger: float, pace: Pace) -> None:
        """Do as `run`; nothing where another process does so just now, even if it rests between two tasks."""
        self._structure.check_in_place()
        with FileLock(self._structure.directory, _CHILDS_LOCK, write=True) as lock:
            if lock.try_exclusive():
                self.run(linger, pace)

    def step(self, pace: Pace) -> None:
        """Do one task, if there is one, unless `pace` stops it; what is damaged is logged, and then left."""
        with reported(self._structure.directory.path), suppress(StoppedError):
            self._step(pace, _Done(), at_rest=False)

    def _go_on(self, linger: float, pace: Pace, done: _Done) -> None:
        self._tidy(pace)
        idle_since = time.monotonic()
        while True:
            self._structure.check_in_place()
            idle = time.monotonic() - idle_since
            if self._step(pace, done, at_rest=min(idle, linger) >= _REST):
                idle_since = time.monotonic()
            elif idle >= linger:
                return
            else:
                pace(0)
                self._wait(min(_LOOK, linger))

    def _wait(self, seconds: float) -> None:
        """Wait for a change of structure, for a segment to expire, or so long."""
        words, before = self._structure.control.words, self._structure.view.generation
        left = self.due.seconds_left()
        time.sleep(seconds if left is None or words[W_GENERATION] != before else min(seconds, max(0.0, left)))

    def _step(self, pace: Pace, done: _Done, *, at_rest: bool) -> bool:
        """Do one task, if there is one; return whether there was."""
        if self.due.next_task(at_rest=at_rest) is None:
            return False
        with self.elected(pace):
            self._remove_left()
            task = self.due.next_task(at_rest=at_rest)  # another process may have been faster
            if task:
                self._do(task, pace, done)
        return task is not None

    def _do(self, task: Task, pace: Pace, done: _Done) -> None:
        noun = "segment" if len(task.numbers) == 1 else "segments"
        segments = f"{noun} {', '.join(map(str, task.numbers))}"
        try:
            Tasks(self._structure, self._writer_lock, self._sync, pace).do(task)
            done.tasks[task.kind] += 1
            logger.info("%s: %s done", task.kind, segments)
        except SupersededError:
            logger.info("%s: gone meanwhile: %s", task.kind, segments)
        except CorruptionError as error:
            logger.error("%s; its segment is left as it is", error)
            broken = {number for number in task.numbers if Path(error.path).stem == f"{number:06d}"}
            self.due.leave(broken or task.numbers)
            done.damage = done.damage or error

    def _tidy(self, pace: Pace) -> None:
        """Remove what one who was elected before has left unfinished."""
        with self.elected(pace), self._writer_lock.hold() as held:
            remove_orphans(self._structure.directory, held.view.manifest)

    def _remove_left(self) -> None:
        """Remove the segments of one who was killed since this one began, if there are any."""
        directory = self._structure.directory
        found = {*directory.numbers("log"), *directory.numbers("idx")}
        if found - self._structure.current().manifest.numbers():  # one may just be made
            with self._writer_lock.hold() as held:
                remove_orphans(directory, held.view.manifest)

    # -- all at once -------------------------------------------------------------------------------------

    def compact(self, progress: Progress) -> CompactionReport:
        """Leave each live key once, see `compaction`. progress: is asked while it waits for its turn, too."""

        def pace(_read: int) -> None:
            filled = self._structure.control.words[W_TIP] & OFFSET_MASK
            progress(0, filled + sum(segment.end for segment in self._structure.view.sealed))

        with reported(self._structure.directory.path), self.elected(pace):
            return compact(self._structure, self._writer_lock, self._sync, self.due.next_task, progress)
