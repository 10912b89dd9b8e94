"""Threads whose commits go to the disk together: the last of those expected works for all, and wakes them.

Who comes leaves its wish and sleeps. Expected are as many as the last work was done for and as had come by
then; where they do not come, the one that has waited longest begins after a moment. Of sixteen threads, each
sync serves all but one or two so. Where they lead in turn it is four or five, and most of the time goes into
waiting for the interpreter: whenever a thread lets others in, at a lock or a write, it has to queue for its
next turn, and here only one does so (`python -m benchmarks sync`).
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 0.3e-3  # seconds; two syncs of a fast disk


class Wish(Generic[T]):
    """What a thread waits for: its `write` committed, where there is one, and all that is committed on disk.

    end: the position behind `write`, 0 while it is not committed.
    """

    __slots__ = ("_gate", "end", "is_done", "write")

    def __init__(self, write: T | None) -> None:
        self.write = write
        self.end = 0
        self.is_done = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, seconds: float) -> None:
        """Sleep until woken, -1 for however long that takes."""
        self._gate.acquire(timeout=seconds)

    def wake(self) -> None:
        """Wake its thread, once and no more however often it is called meanwhile."""
        if self._gate.locked():
            self._gate.release()


class Gathering(Generic[T]):
    """The threads of a process that wait just now, and how many are expected.

    Each calls `join` and, whatever comes of it, `leave`.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: list[Wish[T]] = []
        self._expected = 1
        self._leader: Wish[T] | None = None
        self._led: list[Wish[T]] = []

    def join(self, wish: Wish[T]) -> list[Wish[T]]:
        """Return the wishes that this thread must fulfil, its own among them.

        None are left where another thread has done so, or tried to.
        """
        with self._turn:
            self._waiting.append(wish)
            if len(self._waiting) >= self._expected and not self._leader:
                return self._lead(wish)
            patience = _PATIENCE if len(self._waiting) == 1 else -1
        while True:
            wish.wait(patience)
            with self._turn:
                if wish.is_done:
                    return []
                if not self._leader:
                    return self._lead(wish)
            patience = _PATIENCE

    def _lead(self, wish: Wish[T]) -> list[Wish[T]]:
        self._leader = wish
        self._led, self._waiting = self._waiting, []
        return self._led

    def leave(self, wish: Wish[T]) -> None:
        """Let those go that this thread has worked for; after Ctrl-C, let nobody wait for it."""
        if wish.is_done:
            return
        with self._turn:
            if wish is self._leader:
                self._leader = None
                self._expected = len(self._led) + len(self._waiting)
                for done in self._led:
                    done.is_done = True
                    done.wake()
            elif wish in self._waiting:
                self._waiting.remove(wish)
                for next_ in self._waiting[:1]:
                    next_.wake()
