"""What maintenance is to do now, or at a time that is known: what `plan` has to know, and its answer."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from stratakv.control import W_LOGGED, W_TIP, Figure
from stratakv.directory import SIEVE_NAME
from stratakv.files import now_ms
from stratakv.interrupted import check_refused
from stratakv.log import OFFSET_MASK
from stratakv.maintenance import plan
from stratakv.maintenance.room import Room
from stratakv.maintenance.task import Limits, Task
from stratakv.maintenance.tasks import is_hidden
from stratakv.structure import Structure
from stratakv.view import View

_AMPLIFICATION = 3.5  # what may be written for each byte that writers write, that included


class Due:
    """The work that one store has for its maintenance."""

    def __init__(self, structure: Structure, room: Room) -> None:
        self._structure = structure
        self._room = room
        # Segments that could not be read to their end, and what their files were like then.
        self._damaged: dict[int, tuple[int, int]] = {}

    def leave(self, numbers: Iterable[int]) -> None:
        """Take these segments for damaged, until they are repaired."""
        self._damaged |= {number: self._state(number) for number in numbers}

    def next_task(self, *, at_rest: bool = False) -> Task | None:
        """Return what is to be done now; at_rest: there has been nothing to do for a while."""
        view = self._structure.current()
        hidden = [s.number for s in view.sealed if is_hidden(view, s)]
        limits = self._limits(view, at_rest=at_rest)
        sieved = view.older.sieved if view.older else ()
        return plan.pick(view.manifest.segments, hidden, self._still_damaged(), limits, sieved)

    def is_behind(self) -> bool:
        """Whether writers are faster than maintenance."""
        manifest = self._structure.current().manifest
        return plan.is_behind(manifest.segments, self._still_damaged(), manifest.max_bytes)

    def _still_damaged(self) -> set[int]:
        """Return the segments that could not be read to their end, and were not repaired since."""
        return {number for number, then in self._damaged.items() if self._state(number) == then}

    def _state(self, number: int) -> tuple[int, int]:
        """Return when the log was last written to, and the inode of the index: a repair changes either."""
        files, directory = self._structure.files, self._structure.directory
        try:
            log, index = directory.log_path(number), directory.index_path(number)
            return files.stat(log).st_mtime_ns, files.stat(index).st_ino
        except OSError as refusal:
            check_refused(refusal)
            return 0, 0

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
        return Limits(
            max_bytes=max_bytes,
            used_bytes=used,
            free_bytes=free,
            active_bytes=view.active.end,
            segment_bytes=self._structure.capacity(),
            now=now_ms(),
            active_oldest=view.active.header.oldest,
            spare_bytes=self._spare() if at_rest else 0,
            sieve_bytes=self._sieve_bytes(),
        )

    def _sieve_bytes(self) -> int:
        """Return the length of the sieve, 0 where there is none.

        Not what it takes of the disk: where blocks are large, one of any length would be too large.
        """
        with suppress(FileNotFoundError):
            return self._structure.files.stat(self._structure.directory.path / SIEVE_NAME).st_size
        return 0

    def _spare(self) -> int:
        """Return how many bytes may be rewritten before the amplification is as high as it may be."""
        control = self._structure.control
        written = control.words[W_LOGGED] + (control.words[W_TIP] & OFFSET_MASK)
        return int((_AMPLIFICATION - 1) * written) - control.total(Figure.REWRITTEN)
