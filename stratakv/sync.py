"""Making commits durable, with as few syncs as possible.

Whoever wants its commit on disk leads or follows: the leader syncs the log up to the tip of that moment
and publishes how far it came; those that waited meanwhile find their own commit covered. Threads follow one
thread of their process (`gathering`), processes one of them (`company`), which holds sync.lock.

A sync that failed is never repeated: the kernel drops the pages and the next call would succeed without
them. The segment is poisoned instead, sealed, and everything that waited for it is told.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from stratakv.company import Company
from stratakv.control import W_POISONED, W_SYNCED, W_TIP
from stratakv.errors import ClosedError, ReadOnlyError, SyncError, TransactionError, storage_error
from stratakv.forks import HERE, notice
from stratakv.gathering import Gathering, Wish
from stratakv.interrupted import check_refused, is_interrupted, new_turn, under
from stratakv.locks import FileLock
from stratakv.log import OFFSET_BITS
from stratakv.manifest import Edit
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock

logger = logging.getLogger("stratakv")


class Syncer:
    """The durability of one process's commits.

    publish: lets others see what this process has read; done in each interval, where there are any.
    """

    def __init__(
        self,
        structure: Structure,
        writer_lock: WriterLock,
        lock: FileLock,
        interval: float,
        publish: Callable[[], None],
    ) -> None:
        self._structure = structure
        self._words = structure.control.words
        self._writer_lock = writer_lock
        self.lock = lock
        self._interval = interval
        self._publish = publish
        self._company = Company(structure.files, structure.control)
        self.begin_process()

    def begin_process(self) -> None:
        """Start without any thread: at first, and in a forked child."""
        self._company.begin_process()
        self._gathering = Gathering[Wish]()
        self._ending = threading.Event()
        self._starting = new_turn()  # a signal handler may write in the midst of it
        self._warned = False
        self.thread: threading.Thread | None = None

    # -- now ---------------------------------------------------------------------------------------------

    def reach(self, wanted: int) -> None:
        """Return once everything below position `wanted` is on disk; raises SyncError where it cannot be."""
        if not HERE[0]:
            notice()
        gathering = self._gathering
        if gathering.is_busy() and is_interrupted((Syncer.reach.__code__,), self, 0):
            raise TransactionError(
                "this signal handler has interrupted a sync of the store, and cannot wait for one before "
                "that ends; what it has written is committed"
            )
        while not self._covered(wanted):
            if self._words.readonly:
                raise ReadOnlyError(
                    f"{self._structure.directory.path} holds writes that are not on disk yet: "
                    "only a process that may write to it can sync them"
                )
            wish = Wish()
            try:
                try:
                    if gathering.join(wish):
                        self._lead(wanted)
                finally:
                    wish.is_left = True  # by itself, and first: a signal cannot keep it from that
                    gathering.leave(wish)
            finally:
                gathering.leave(wish)  # again, where a signal ended the first

    def is_syncing(self, thread: int) -> bool:
        """Whether this thread is syncing, or waits for a sync."""
        return self._gathering.has(thread)

    def everything(self) -> None:
        """Return once all that is committed is on disk; raises SyncError where some of it never will be."""
        self.reach_tip()
        for entry in self._structure.current().manifest.segments:
            if entry.poisoned:
                raise self._refusal(entry.number)

    def reach_tip(self) -> None:
        """Return once all that is committed by now is on disk, but for logs whose sync failed before."""
        self.reach(self._words[W_TIP])

    def is_behind(self) -> bool:
        """Whether something is committed that is not known to be on disk."""
        return self._words[W_SYNCED] < self._words[W_TIP]

    def _covered(self, wanted: int) -> bool:
        number, poisoned = wanted >> OFFSET_BITS, self._words[W_POISONED]
        if poisoned:
            if not self._structure.is_given_up(poisoned):
                self._give_up(poisoned)  # who found it out did not live to do so, or could not
            if self._structure.is_poisoned(number):
                raise self._refusal(number)
            if not self._structure.is_given_up(poisoned):  # as the store was closed meanwhile
                raise self._refusal(poisoned)
        return self._words[W_SYNCED] >= wanted

    def _refusal(self, number: int) -> SyncError:
        return SyncError(
            self._structure.directory.log_path(number),
            OSError(errno.EIO, "a sync of this log failed"),
            "what was written to it since the last sync may not survive a power cut; look at the disk",
        )

    def _lead(self, wanted: int) -> None:
        """Sync what is not synced yet, or wait until another process has; one at a time does."""
        try:
            if self._company.leads(wanted, self.lock):
                self._sync(wanted)
        finally:
            try:
                self.lock.unlock()  # of a lock that is not held it does nothing
            except OSError as cause:
                raise storage_error(self.lock.path, cause) from cause
            finally:
                self._company.part()

    def _sync(self, wanted: int) -> None:
        words, files = self._words, self._structure.files
        # IMPORTANT: not before. Whoever had the lock may have found out that a sync fails, and told it.
        if words[W_POISONED] and not self._structure.is_given_up(words[W_POISONED]):
            return
        view, tip = self._structure.current(), words[W_TIP]
        if words[W_SYNCED] >= wanted or tip >> OFFSET_BITS > view.active.number:
            return  # another process was faster, or the view has become old
        for segment in self._unsynced(view, words[W_SYNCED] >> OFFSET_BITS):
            try:
                files.fdatasync(segment.fd)
            except OSError as cause:
                check_refused(cause)
                words[W_POISONED] = segment.number
                self._give_up(segment.number)
                raise SyncError(
                    segment.path,
                    cause,
                    "the log is sealed and writing goes on in a new one; look at the disk",
                ) from cause
        words[W_SYNCED] = tip

    @staticmethod
    def _unsynced(view: View, first: int) -> Iterator[Segment]:
        """Yield what writers wrote from segment `first` on, oldest first, but for poisoned logs."""
        for segment in reversed(tuple(view.segments())):
            poisoned = segment.entry is not None and segment.entry.poisoned
            if segment.number >= first and segment.header.is_original and not poisoned:
                yield segment

    def _give_up(self, number: int) -> None:
        """Let nothing more be written to a log whose sync failed, and never sync it again."""
        # Where the store has been closed, whoever opens it next does it.
        with suppress(ClosedError), self._writer_lock.hold() as held:
            if held.view.active.number == number:
                self._structure.rotate(held)
            self._structure.install(held, Edit(poisoned=frozenset({number})))

    # -- now and then ------------------------------------------------------------------------------------

    def keep_going(self, end: int) -> None:
        """After a commit: see that there is a thread in this process that syncs every interval."""
        if self.thread is None and not under(self._starting, self._start_thread):
            self.reach(end)

    def _start_thread(self) -> bool:
        """Start the thread, unless the store was closed; return False where none can be started."""
        if self.thread is None and self._writer_lock.lock.fd >= 0:
            thread = threading.Thread(
                target=self._run, args=(self._ending,), name="stratakv-sync", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # too many threads, or the interpreter is about to end
                if not self._warned:
                    logger.warning("no thread can be started that syncs: each write does", exc_info=True)
                self._warned = True
                return False
            self.thread = thread  # now that it can be joined
        return True

    def _run(self, ending: threading.Event) -> None:
        self._structure.files.leave_signals()
        fails = False
        while not ending.wait(self._interval):
            try:
                if self.is_behind():
                    self.reach_tip()
                fails = False
            except Exception:  # whatever it was, the next interval must be tried
                if not fails:  # a disk that stays full for a day is one message
                    logger.exception("the periodic sync failed; it is tried again at each interval")
                fails = True
            with suppress(Exception):  # whoever uses the store next meets it
                self._tend()

    def _tend(self) -> None:
        """Let go of files that others have removed, and let them see the counts, as no idle process would."""
        self._structure.current()
        self._publish()
        self._writer_lock.publish()

    def stop(self) -> None:
        ending, thread = under(self._starting, self._give_thread_up)
        ending.set()
        if thread:
            thread.join()

    def _give_thread_up(self) -> tuple[threading.Event, threading.Thread | None]:
        ending, thread = self._ending, self.thread
        self._ending, self.thread = threading.Event(), None
        return ending, thread
