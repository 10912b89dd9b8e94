"""Making commits durable, with as few syncs as possible.

Whoever wants its commit on disk leads or follows: the leader syncs the log up to the tip of that moment
and publishes how far it came; those that waited meanwhile find their own commit covered. Threads queue at
a lock of the process, processes at an `flock` of the log itself.

A sync that failed is never repeated: the kernel drops the pages and the next call would succeed without
them. The segment is poisoned instead, sealed, and everything that waited for it is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from stratakv.commit import Exclusive
from stratakv.control import POSITION_BITS, W_POISONED, W_SYNCED, W_TIP, position
from stratakv.errors import StrataKVError, SyncError
from stratakv.locks import EXCLUSIVE, UNLOCK
from stratakv.segment import Segment
from stratakv.structure import Structure

log = logging.getLogger("stratakv")


class Syncer:
    """The durability of one process's commits."""

    def __init__(self, structure: Structure, exclusive: Exclusive, interval: float) -> None:
        self._structure = structure
        self._words = structure.control.words
        self._exclusive = exclusive
        self._interval = interval
        self.reset()

    def reset(self) -> None:
        """Start without any thread: at first, and in a forked child."""
        self._turn = threading.Lock()
        self._ending = threading.Event()
        self.thread: threading.Thread | None = None

    # -- now ---------------------------------------------------------------------------------------------

    def reach(self, wanted: int) -> None:
        """Return once everything below position `wanted` is on disk; raises SyncError where it cannot be."""
        with self._turn:
            while not self._covered(wanted):
                self._lead(wanted)

    def everything(self) -> None:
        """Return once all that is committed by now is on disk."""
        self.reach(self._words[W_TIP])

    def _covered(self, wanted: int) -> bool:
        number = wanted >> POSITION_BITS
        if self._words[W_POISONED] == number or self._is_poisoned(number):
            self._refuse(number)
        return self._words[W_SYNCED] >= wanted

    def _is_poisoned(self, number: int) -> bool:
        if not self._words[W_POISONED]:
            return False
        entries = self._structure.current().manifest.segments
        return any(entry.poisoned for entry in entries if entry.number == number)

    def _refuse(self, number: int) -> None:
        raise SyncError(
            self._structure.directory.log_path(number),
            OSError(5, "a sync of this log failed"),
            "what was written to it since the last sync may not survive a power cut; look at the disk",
        )

    def _lead(self, wanted: int) -> None:
        """Sync what is not synced yet, up to the tip; one process at a time."""
        words, files = self._words, self._structure.files
        view = self._structure.current()
        files.flock(view.active.fd, EXCLUSIVE)
        try:
            tip = words[W_TIP]
            if words[W_SYNCED] >= wanted or tip >> POSITION_BITS != view.active.number:
                return  # covered by another process, or rotated in between
            for segment in self._unsynced(words[W_SYNCED]):
                files.fdatasync(segment.fd)
            words[W_SYNCED] = tip
        except OSError as cause:
            self._poison(segment)
            raise SyncError(
                self._structure.directory.log_path(segment.number),
                cause,
                "the log is sealed and writing goes on in a new one; look at the disk",
            ) from cause
        finally:
            files.flock(view.active.fd, UNLOCK)

    def _unsynced(self, synced: int) -> Iterator[Segment]:
        """Yield the young segments from the one of position `synced` on, oldest first."""
        for segment in reversed(tuple(self._structure.current().segments())):
            young = segment.entry is None or segment.entry.kind == "young"
            if young and segment.number >= synced >> POSITION_BITS:
                yield segment

    def _poison(self, segment: Segment) -> None:
        """Let nothing more be written to a log whose sync failed."""
        self._words[W_POISONED] = segment.number
        with self._exclusive as held:
            if held.view.active.number == segment.number:
                self._structure.rotate(held, poisoned=True)
                # What waits for the new segment must not wait for the old one as well.
                self._words[W_SYNCED] = position(held.view.active.number, 0)

    # -- now and then ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sync every interval from now on, in a thread of this process."""
        self.thread = threading.Thread(
            target=self._run, args=(self._ending,), name="stratakv-sync", daemon=True
        )
        self.thread.start()

    def _run(self, ending: threading.Event) -> None:
        while not ending.wait(self._interval):
            try:
                if self._words[W_SYNCED] < self._words[W_TIP]:
                    self.everything()
            except StrataKVError:
                log.exception("the periodic sync failed")

    def stop(self) -> None:
        self._ending.set()
        if self.thread:
            self.thread.join()
        self.reset()
