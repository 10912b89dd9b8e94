"""Threads that wait for the same work: one does it for all, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from stratakv import gathering
from stratakv.gathering import Gathering, Wish
from tests.support.waiting import wait_until

Serve = Callable[..., list["Member"]]


class Named(Wish):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@pytest.fixture
def group() -> Gathering[Named]:
    return Gathering()


class Member:
    """A thread that has joined; `led` is what it was told to do, None as long as it waits."""

    def __init__(self, group: Gathering[Named], name: str, kind: type[Named] = Named) -> None:
        self.wish: Named
        self.led: str | None = None
        self._group = group
        self.thread = threading.Thread(target=self._join, args=(name, kind), daemon=True)
        self.thread.start()

    def _join(self, name: str, kind: type[Named]) -> None:
        self.wish = kind(name)
        try:
            self.led = names(self._group.join(self.wish))
        except InterruptedError:
            self.wish.is_left = True
            self._group.leave(self.wish)


def names(wishes: list[Named]) -> str:
    return "".join(wish.name for wish in wishes)


def members(group: Gathering[Named], those: str) -> list[Member]:
    """Threads that wait, in this order."""
    found = []
    for name in those:
        found.append(Member(group, name))
        wait_until(lambda: len(group._waiting) == len(found))
    return found


def leader_of(members: list[Member]) -> Member:
    """The only one of them that works for the others, once there is one."""
    wait_until(lambda: any(member.led for member in members))
    (leader,) = [member for member in members if member.led]
    return leader


def test_who_is_alone_begins_at_once(group: Gathering[Named]) -> None:
    for _ in range(2):
        wish = Named("a")
        assert group.join(wish) == [wish]
        group.leave(wish)


def test_those_that_came_meanwhile_are_served_together(group: Gathering[Named]) -> None:
    first = Named("a")
    group.join(first)
    others = members(group, "bcd")
    time.sleep(0.01)
    assert [other.led for other in others] == [None] * 3, "one is at work"
    group.leave(first)
    leader = leader_of(others)
    assert leader.led == "bcd"
    group.leave(leader.wish)
    for other in others:
        other.thread.join(10)
    assert [other.led for other in others if other is not leader] == ["", ""]


def test_the_last_of_those_expected_begins(group: Gathering[Named], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE", 60)
    first = Named("a")
    group.join(first)
    others = members(group, "bc")
    group.leave(first)
    again = Named("d")
    assert names(group.join(again)) == "bcd"
    group.leave(again)
    for other in others:
        other.thread.join(10)
        assert other.led == ""


def test_a_moment_is_counted_from_when_it_is_possible_to_begin(
    group: Gathering[Named], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the work before it took."""
    asked: list[float] = []
    wait = Wish.wait

    def noted(wish: Wish, seconds: float) -> bool:
        asked.append(seconds)
        return wait(wish, seconds)

    monkeypatch.setattr(Wish, "wait", noted)
    first = Named("a")
    group.join(first)
    (other,) = members(group, "b")
    time.sleep(0.01)
    assert asked == [gathering._LONG]
    group.leave(first)
    other.thread.join(10)
    assert asked == [gathering._LONG, gathering._PATIENCE]
    group.leave(other.wish)


@pytest.mark.parametrize("place", [0, 1])
def test_a_thread_that_is_interrupted_is_not_waited_for(group: Gathering[Named], place: int) -> None:
    """The others go on, also where it was the one that kept the time."""
    first, interrupted = Named("a"), Named("main")
    group.join(first)
    others = members(group, "b" * place)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    late = threading.Timer(0.02, lambda: others.append(Member(group, "c")))
    late.start()
    with pytest.raises(KeyboardInterrupt):
        group.join(interrupted)
    late.join()
    group.leave(interrupted)
    group.leave(first)
    leader = leader_of(others)
    assert leader.led == "b" * place + "c"
    group.leave(leader.wish)
    for other in others:
        other.thread.join(10)


@pytest.fixture
def served(group: Gathering[Named], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Threads that wait in this order, of kinds by name, and for which `leader` has begun to work."""
    monkeypatch.setattr(gathering, "_PATIENCE", 60)
    monkeypatch.setattr(gathering, "_LONG", 60)

    def serve(those: str, leader: Named, **kinds: type[Named]) -> list[Member]:
        first = Named("first")
        group.join(first)
        found = []
        for name in those:
            found.append(Member(group, name, kinds.get(name, Named)))
            wait_until(lambda: len(group._waiting) == len(found))
        group.leave(first)
        assert len(group.join(leader)) == len(those) + 1
        return found

    return serve


def all_ended(members: list[Member]) -> bool:
    for each in members:
        each.thread.join(10)
    return not any(each.thread.is_alive() for each in members)


def test_they_are_woken_one_after_the_other(group: Gathering[Named], served: Serve) -> None:
    """Each by the one before: by whom, and in this order."""
    woken: list[tuple[str, int]] = []

    class Noted(Named):
        def wake(self) -> None:
            woken.append((self.name, threading.get_ident()))
            super().wake()

    leader = Named("leader")
    members = served("bcd", leader, b=Noted, c=Noted, d=Noted)
    woken.clear()
    group.leave(leader)
    assert all_ended(members)
    by = [leader.thread, *(member.wish.thread for member in members)]
    assert woken == list(zip("bcd", by, strict=False))


def test_one_that_was_interrupted_while_it_was_served_keeps_nobody_waiting(
    group: Gathering[Named], served: Serve
) -> None:
    interrupt = threading.Event()

    class Interrupted(Named):
        def wait(self, seconds: float) -> bool:
            interrupt.wait(10)
            raise InterruptedError

    leader = Named("leader")
    members = served("bcd", leader, c=Interrupted)
    interrupt.set()
    wait_until(lambda: members[1].wish.is_left)
    group.leave(leader)
    assert all_ended(members)


def test_one_that_is_interrupted_when_it_was_served_passes_on(group: Gathering[Named], served: Serve) -> None:
    class Interrupted(Named):
        def wait(self, seconds: float) -> bool:
            woken = super().wait(seconds)
            if self.is_done:
                raise InterruptedError
            return woken

    leader = Named("leader")
    members = served("bcd", leader, c=Interrupted)
    group.leave(leader)
    assert all_ended(members)


def test_the_main_thread_keeps_nobody_waiting(group: Gathering[Named], served: Serve) -> None:
    """It may be in a signal handler when it is woken, for as long as that takes."""
    handled = threading.Event()

    class OfMain(Named):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.thread = threading.main_thread().ident or 0

        def wait(self, seconds: float) -> bool:
            woken = super().wait(seconds)
            if self.is_done:
                handled.wait(60)  # longer than `all_ended` takes to give up
            return woken

    leader = Named("leader")
    members = served("bcd", leader, b=OfMain)
    group.leave(leader)
    assert all_ended(members[1:])
    handled.set()
    assert all_ended(members)


@pytest.mark.parametrize("place", range(3))
def test_one_that_wakes_by_itself_while_the_leader_is_interrupted(
    group: Gathering[Named], served: Serve, place: int
) -> None:
    """The leader has said of those from `place` on that they are done, and has woken nobody."""

    class Halting(Named):
        @property
        def is_done(self) -> bool:  # type: ignore[override]
            return self._is_done

        @is_done.setter
        def is_done(self, value: bool) -> None:
            if value and not halted:
                halted.append(True)
                raise InterruptedError
            self._is_done = value

    halted: list[bool] = []
    leader = Named("leader")
    members = served("bcd", leader, **{"bcd"[place]: Halting})
    with pytest.raises(InterruptedError):
        group.leave(leader)
    for member in members:
        member.wish.wake()
    assert all_ended([member for member in members if member.wish.is_done])
    group.leave(leader)
    assert all_ended(members)


def test_a_leader_that_is_interrupted_lets_the_others_go(
    group: Gathering[Named], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE", 60)
    first, second = Named("a"), Named("b")
    group.join(first)
    (other,) = members(group, "c")
    group.leave(first)
    assert len(group.join(second)) == 2
    group.leave(second)  # as a `finally` does
    other.thread.join(10)
    assert other.led == ""


def test_a_leader_that_is_interrupted_as_it_ends_leaves_nobody_asleep(group: Gathering[Named]) -> None:
    """Who came while it was at work is woken, so that it goes without others after a moment."""
    interrupted: list[bool] = []

    class Interrupting(Named):
        def wake(self) -> None:
            if not interrupted:
                interrupted.append(True)
                raise InterruptedError
            super().wake()

    first = Named("a")
    group.join(first)
    other = Member(group, "b", Interrupting)
    wait_until(lambda: len(group._waiting) == 1)
    with pytest.raises(InterruptedError):
        group.leave(first)
    group.leave(first)  # as a `finally` does
    other.thread.join(10)
    assert other.led == "b"


def test_a_leader_that_never_gets_to_leave_keeps_nobody_waiting(
    group: Gathering[Named], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted as it was leaving, and once more: it has said that it leaves, and no more."""
    monkeypatch.setattr(gathering, "_LONG", 0.05)
    gone = Named("a")
    group.join(gone)
    others = members(group, "bc")
    time.sleep(0.2)
    assert [other.led for other in others] == [None] * 2, "it may take that long"
    gone.is_left = True
    leader = leader_of(others)
    assert leader.led == "bc"
    group.leave(leader.wish)
    assert all_ended(others)


def test_one_that_never_gets_to_leave_keeps_nobody_asleep(
    group: Gathering[Named], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to wake the others: it is the first of those that wait, and keeps the time."""
    monkeypatch.setattr(gathering, "_LONG", 0.05)
    first, gone = Named("a"), Named("b")
    group.join(first)
    group._begin(gone)
    gone.is_left = True
    others = [Member(group, name) for name in "cd"]
    wait_until(lambda: len(group._waiting) == 3)
    group.leave(first)
    leader = leader_of(others)
    assert leader.led == "bcd"
    group.leave(leader.wish)
    assert all_ended(others)


def test_a_thread_that_is_too_deep_joins_nothing(group: Gathering[Named]) -> None:
    """It could not leave, and all others would wait for it."""

    def calls() -> int:
        frame, count = sys._getframe(), 0
        while frame := frame.f_back:  # type: ignore[assignment]
            count += 1
        return count

    def dive(left: int) -> None:
        if left:
            dive(left - 1)
            return
        wish = Named("a")
        try:
            group.join(wish)
        finally:
            group.leave(wish)

    room = sys.getrecursionlimit() - calls()
    failed = 0
    for left in range(room - 60, room - 2):
        try:
            dive(left)
        except RecursionError:
            failed += 1
        assert not group.is_busy()
        assert not group.has(threading.get_ident())
    assert 10 < failed < 58


def test_a_thread_is_in_it_until_it_leaves(group: Gathering[Named]) -> None:
    wish, thread = Named("a"), threading.get_ident()
    assert not group.has(thread)
    group.join(wish)
    assert group.has(thread)
    assert not group.has(thread + 1)
    group.leave(wish)
    assert not group.has(thread)
