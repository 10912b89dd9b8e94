"""The moment that a read of more than one key shows: the view of now, and how far its active log counts.

A scan must show what lookups find, and those find what is in the index. So a snapshot is taken when all
below the tip is indexed, which between two commits it always is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from stratakv.control import W_INDEXED, W_TIP, position
from stratakv.directory import CONTROL_NAME
from stratakv.errors import CorruptionError, StrataKVError
from stratakv.log import OFFSET_MASK
from stratakv.view import View
from stratakv.views import Views

_LOOKS = 20
_PAUSE = 100e-6  # seconds

# A view, and the offset in its active log up to which lookups find what is there.
Snapshot = tuple[View, int]


class Snapshots:
    """Snapshots of one store. hold: keeps writers off; None where this process may not."""

    def __init__(self, views: Views, hold: Callable[[], AbstractContextManager[object]] | None) -> None:
        self.views = views
        self._hold = hold

    def take(self) -> Snapshot:
        """Return the snapshot of now; raises CorruptionError where `CONTROL` says what cannot be."""
        for _ in range(_LOOKS):
            if found := self._look():
                return found
            time.sleep(_PAUSE)
        # A long batch, which its writer is about to enter into the index; or the writer died, and this heals.
        with suppress(StrataKVError), self.held_off():
            if found := self._look():
                return found
        # This process may not write, so it cannot heal. Until somebody does, lookups see no more than this.
        words = self.views.control.words
        for _ in range(_LOOKS):  # somebody may begin a segment between view and words
            view = self.views.current()
            indexed, tip = words[W_INDEXED], words[W_TIP]
            if position(view.active.number, view.active.start) <= indexed <= tip <= _end(view):
                return view, indexed & OFFSET_MASK
        path = self.views.directory.path / CONTROL_NAME
        raise CorruptionError(path, 8 * W_TIP, "the tip lies in no segment that the manifest names")

    def held_off(self) -> AbstractContextManager[object]:
        """Keep writers off, where this process may; elsewhere that does nothing."""
        return self._hold() if self._hold else nullcontext()

    def _look(self) -> Snapshot | None:
        """Return what `take` does; None in the middle of a commit or a rotation."""
        view, words = self.views.current(), self.views.control.words
        indexed = words[W_INDEXED]
        tip = words[W_TIP]  # IMPORTANT: after the other: they are equal when all below the tip was indexed
        if tip < position(view.active.number, 0):
            # So new that it has nothing but what it began with, unless there has been a commit meanwhile.
            return (view, view.active.begun()) if words[W_TIP] == tip else None
        return (view, tip & OFFSET_MASK) if indexed == tip <= _end(view) else None


def _end(view: View) -> int:
    """Return the last position that the tip may have in this view."""
    return position(view.active.number, view.active.end)
