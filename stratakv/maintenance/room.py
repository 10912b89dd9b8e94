"""Room within the budget for what maintenance writes.

It is taken before anything is written, and under the writer lock: whoever begins a segment counts it then.
"""

from __future__ import annotations

from stratakv.budget import ceiling, on_disk
from stratakv.maintenance.early_end import NoRoomError
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock


class Room:
    """What the budget of one store leaves."""

    def __init__(self, structure: Structure, writer_lock: WriterLock) -> None:
        self._structure = structure
        self._writer_lock = writer_lock
        self._files = structure.files

    def used(self, view: View) -> int:
        """Return the bytes of disk that all files will take once the active log is full."""
        active = view.active
        return self._structure.directory.used() + max(
            0, on_disk(active.end) - self._files.allocated(active.path)
        )

    def left(self, view: View, used: int) -> int:
        """Return how many more bytes than `used` a store with a budget may take at any moment."""
        return ceiling(view.manifest.max_bytes) + self._structure.oversized_bytes(view.manifest) - used

    def take(self, fd: int, end: int) -> None:
        """Give a file blocks up to the offset `end`; raises NoRoomError where the budget has none left."""
        if not self._structure.current().manifest.max_bytes:
            return
        with self._writer_lock.hold() as held:
            wanted = on_disk(end) - self._files.allocated_by(fd)
            fits = wanted <= self.left(held.view, self.used(held.view))
            try:
                if fits:
                    self._files.allocate(fd, end)
            except OSError:
                self._writer_lock.settle()
                raise
        if not fits:
            raise NoRoomError
