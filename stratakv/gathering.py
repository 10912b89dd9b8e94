"""One thread does for many what all of them wait for.

A thread leaves its wish and sleeps. Each round expects as many threads as the last one served, and those that
came while that was going on. The last of them to come does the work for all. Where fewer come, the one that
has waited longest begins after a moment.

Whoever has worked for others wakes one of them, who wakes the next before anything else, and so on. Until a
thread runs that was woken, the one before it can do what it has to do. All woken at once would go to sleep
once more, to wait for the interpreter: sixteen that put at `durability="always"` do 1.6 times as much so.

A thread may be interrupted as it leaves, and again as it tries to once more. So it says first that it leaves,
and those that sleep look from time to time whether the one they wait for has.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Generic, TypeVar

from stratakv.interrupted import new_turn, under

_PATIENCE = 0.3e-3  # seconds; two syncs of a fast disk
_LONG = 1.0  # seconds; after which a thread looks whether anybody is at work
_DEEP = 12  # calls within one another, more than `leave` needs


class Wish:
    """What a thread waits for.

    is_done: another thread has worked for it, or tried to. is_left: its thread is on its way out, and neither
    works nor waits any longer. thread: which one that is. following: the wish whose thread it wakes.
    """

    __slots__ = ("_gate", "following", "is_done", "is_left", "thread")

    def __init__(self) -> None:
        self.is_done = self.is_left = False
        self.thread = threading.get_ident()
        self.following: Wish | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, seconds: float) -> bool:
        """Sleep until woken, for so long at most; return whether it was woken."""
        return self._gate.acquire(timeout=seconds)

    def wake(self) -> None:
        """Wake its thread; a second call does nothing."""
        if self._gate.locked():
            self._gate.release()

    def pass_on(self) -> None:
        """Wake the next thread; a second call does nothing."""
        if self.following:
            self.following.wake()
            self.following = None  # only now: who is interrupted before that does it again


W = TypeVar("W", bound=Wish)


class Gathering(Generic[W]):
    """The threads of a process that wait just now, and how many are expected.

    Each calls `join` and, whatever comes of it, says that its wish is left and calls `leave`.
    """

    def __init__(self) -> None:
        self._turn = new_turn()
        self._waiting: list[W] = []
        self._expected = 1
        self._leader: W | None = None
        self._led: list[W] = []
        self._inside: set[int] = set()  # threads

    def is_busy(self) -> bool:
        """Whether any thread is waiting, or working for those that do."""
        return bool(self._leader or self._waiting)

    def has(self, thread: int) -> bool:
        """Whether a thread has joined and not left. If it is this one, it is in a `__del__`, or the like, and
        would wait for itself.
        """
        return thread in self._inside

    def join(self, wish: W) -> list[W]:
        """Return the wishes that this thread must fulfil, its own among them.

        Sleeps until it is this thread's turn; returns none once another one has worked for it, or tried to.
        """
        # IMPORTANT: a RecursionError in `leave` would be the end of all that wait. A microsecond.
        _dive(_DEEP)
        self._inside.add(wish.thread)
        led, patience = under(self._turn, self._begin, wish)
        while led is None:
            woken = wish.wait(patience)
            if wish.is_done:  # a twentieth is done more if this does not wait for those before it
                led = []
            else:
                led, patience = under(self._turn, self._go_on, wish, woken)
        wish.pass_on()
        return led

    def _begin(self, wish: W) -> tuple[list[W] | None, float]:
        """Return what this thread must fulfil at once, None where it has to wait, and for how long."""
        self._waiting.append(wish)
        if len(self._waiting) >= self._expected and not self._leader:
            return self._lead(wish), 0.0
        return None, _LONG if self._leader or len(self._waiting) > 1 else _PATIENCE

    def _go_on(self, wish: W, woken: bool) -> tuple[list[W] | None, float]:
        """Return the same after it was woken, or has waited as long as it should."""
        if not woken and self._leader and self._leader.is_left:
            self._end(self._leader)
        if wish.is_done:
            return [], 0.0
        if not self._leader and not woken:
            return self._lead(wish), 0.0
        return None, _LONG if self._leader else _PATIENCE

    def _lead(self, wish: W) -> list[W]:
        self._leader = wish
        self._led, self._waiting = self._waiting, []
        return self._led

    def leave(self, wish: W) -> None:
        """Let those go on that this thread has worked for; where it was interrupted, take its wish back."""
        if wish.is_done and wish is not self._leader:
            wish.pass_on()  # where it was interrupted before it has
        else:
            under(self._turn, self._end, wish)
        self._inside.discard(wish.thread)

    def _end(self, wish: W) -> None:
        if wish is self._leader:
            self._expected = len(self._led) + len(self._waiting)
            self._let_go([done for done in self._led if done is not wish])
            wish.is_done = True
        elif wish in self._waiting:
            self._waiting.remove(wish)
        if self._waiting:
            self._waiting[0].wake()
        if wish is self._leader:
            self._leader = None  # IMPORTANT: last; who is interrupted before that does it all again

    @staticmethod
    def _let_go(done: list[W]) -> None:
        """Say that these are done, and wake the first, who wakes the next, and so on."""
        main = threading.main_thread().ident
        # By itself: a signal handler may keep it from waking the next, for as long as that takes.
        of_main = [wish for wish in done if wish.thread == main]
        row = [wish for wish in done if wish.thread != main and not wish.is_left]
        for wish, following in pairwise(row):
            wish.following = following
        # IMPORTANT: the last first. A thread that wakes by itself passes on to one that is done as well.
        for wish in reversed(done):
            wish.is_done = True
        for wish in (*of_main, *row[:1]):
            wish.wake()


def _dive(calls: int) -> None:
    """Raise RecursionError where there is no room for so many calls within one another."""
    if calls:
        _dive(calls - 1)
