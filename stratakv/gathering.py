"""One thread does for many what all of them wait for.

A thread leaves its wish and sleeps. Each round expects as many threads as the last one served, and those that
came while that was going on. The last of them to come does the work for all and wakes them. Where fewer come,
the one that has waited longest begins after a moment.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from stratakv.interrupted import new_turn, under

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
        led, patience = under(self._turn, self._begin, wish)
        while led is None:
            wish.wait(patience)
            led, patience = under(self._turn, self._go_on, wish, patience)
        return led

    def _begin(self, wish: W) -> tuple[list[W] | None, float]:
        """Return what this thread must fulfil at once, None where it has to wait, and for how long."""
        self._waiting.append(wish)
        if len(self._waiting) >= self._expected and not self._leader:
            return self._lead(wish), 0.0
        return None, -1.0 if self._leader or len(self._waiting) > 1 else _PATIENCE

    def _go_on(self, wish: W, patience: float) -> tuple[list[W] | None, float]:
        """Return the same after it has waited for so long."""
        if wish.is_done:
            return [], 0.0
        if not self._leader and patience > 0:
            return self._lead(wish), 0.0
        return None, -1.0 if self._leader else _PATIENCE

    def _lead(self, wish: W) -> list[W]:
        self._leader = wish
        self._led, self._waiting = self._waiting, []
        return self._led

    def leave(self, wish: W) -> None:
        """Wake the threads that this one has worked for; where it was interrupted, take its wish back."""
        if wish.is_done and wish is not self._leader:
            return
        under(self._turn, self._end, wish)

    def _end(self, wish: W) -> None:
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
