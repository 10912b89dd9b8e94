"""One thread does for many what all of them wait for.

A thread leaves its wish and sleeps. Each round expects as many threads as the last one served, and those that
came while that was going on. The last of them to come does the work for all and wakes them. Where fewer come,
the one that has waited longest begins after a moment.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from stratakv.interrupted import new_turn, taken

_PATIENCE = 0.3e-3  # seconds; two syncs of a fast disk


class Wish:
    """What a thread waits for. is_done: another thread has worked for it, or tried to."""

    __slots__ = ("_gate", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, seconds: float) -> None:
        """Sleep until woken, -1 for however long that takes."""
        self._gate.acquire(timeout=seconds)

    def wake(self) -> None:
        """Wake its thread; a second call does nothing."""
        if self._gate.locked():
            self._gate.release()


W = TypeVar("W", bound=Wish)


class Gathering(Generic[W]):
    """The threads of a process that wait just now, and how many are expected.

    Each calls `join` and, whatever comes of it, `leave`.
    """

    def __init__(self) -> None:
        self._turn = new_turn()
        self._waiting: list[W] = []
        self._expected = 1
        self._leader: W | None = None
        self._led: list[W] = []

    def is_busy(self) -> bool:
        """Whether any thread is waiting, or working for those that do."""
        return bool(self._leader or self._waiting)

    def join(self, wish: W) -> list[W]:
        """Return the wishes that this thread must fulfil, its own among them.

        Sleeps until it is this thread's turn; returns none once another one has worked for it, or tried to.
        """
        with taken(self._turn):
            self._waiting.append(wish)
            if len(self._waiting) >= self._expected and not self._leader:
                return self._lead(wish)
            patience = -1.0 if self._leader or len(self._waiting) > 1 else _PATIENCE
        while True:
            wish.wait(patience)
            with taken(self._turn):
                if wish.is_done:
                    return []
                if not self._leader and patience > 0:
                    return self._lead(wish)
                patience = -1.0 if self._leader else _PATIENCE

    def _lead(self, wish: W) -> list[W]:
        self._leader = wish
        self._led, self._waiting = self._waiting, []
        return self._led

    def leave(self, wish: W) -> None:
        """Wake the threads that this one has worked for; where it was interrupted, take its wish back."""
        if wish.is_done and wish is not self._leader:
            return
        with taken(self._turn):
            if wish is self._leader:
                self._expected = len(self._led) + len(self._waiting)
                for done in self._led:
                    done.is_done = True
                    done.wake()
                self._leader = None  # last: who is interrupted before that does it all again
            elif wish in self._waiting:
                self._waiting.remove(wish)
            if self._waiting:
                self._waiting[0].wake()
