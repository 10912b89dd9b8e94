"""Leading and following: of the threads of a process that wait for the same work, one does it for all.

Who follows sleeps at a lock of its own. Who has led wakes all those whose wish is fulfilled at once, and
makes one of the others the next leader. At a single lock each would wait for the one before it to be woken
and to go: sixteen threads then had two commits in each sync, and have five (`python -m benchmarks sync`).
"""

from __future__ import annotations

import threading


class _Follower:
    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.gate = threading.Lock()
        self.gate.acquire()
        self.leads = False


class Leadership:
    """Who leads just now, and who waits for what."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._is_taken = False
        self._followers: list[_Follower] = []

    def take(self, wanted: int) -> bool:
        """Return True if this thread is to lead, and must `pass_on`; False once another got to `wanted`."""
        with self._turn:
            if not self._is_taken:
                self._is_taken = True
                return True
            follower = _Follower(wanted)
            self._followers.append(follower)
        try:
            follower.gate.acquire()
        except BaseException:  # Ctrl-C; the others must not wait for who has gone
            self._give_up(follower)
            raise
        return follower.leads

    def pass_on(self, reached: int) -> None:
        """End a lead that got so far."""
        with self._turn:
            done = [follower for follower in self._followers if follower.wanted <= reached]
            rest = [follower for follower in self._followers if follower.wanted > reached]
            self._is_taken = bool(rest)
            if rest:
                rest[0].leads = True
                done.append(rest.pop(0))
            self._followers = rest
        for follower in done:
            follower.gate.release()

    def _give_up(self, follower: _Follower) -> None:
        with self._turn:
            if follower in self._followers:
                self._followers.remove(follower)
        if follower.leads:
            self.pass_on(0)
