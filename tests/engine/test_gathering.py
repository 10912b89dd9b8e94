"""Threads that wait for the same work: one does it for all, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from stratakv import gathering
from stratakv.gathering import Gathering, Wish
from tests.engine.machine import wait_for


class Named(Wish):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@pytest.fixture
def group() -> Gathering[Named]:
    return Gathering()


class Member:
    """A thread that has joined; `led` is what it was told to do, None as long as it waits."""

    def __init__(self, group: Gathering[Named], name: str) -> None:
        self.wish = Named(name)
        self.led: str | None = None
        self._group = group
        self.thread = threading.Thread(target=self._join)
        self.thread.start()

    def _join(self) -> None:
        self.led = names(self._group.join(self.wish))


def names(wishes: list[Named]) -> str:
    return "".join(wish.name for wish in wishes)


def members(group: Gathering[Named], those: str) -> list[Member]:
    """Threads that wait, in this order."""
    found = []
    for name in those:
        found.append(Member(group, name))
        wait_for(lambda: len(group._waiting) == len(found))
    return found


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
    wait_for(lambda: any(other.led for other in others))
    (leader,) = [other for other in others if other.led]
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

    def noted(wish: Wish, seconds: float) -> None:
        asked.append(seconds)
        wait(wish, seconds)

    monkeypatch.setattr(Wish, "wait", noted)
    first = Named("a")
    group.join(first)
    (other,) = members(group, "b")
    time.sleep(0.01)
    assert asked == [-1.0]
    group.leave(first)
    other.thread.join(10)
    assert asked == [-1.0, gathering._PATIENCE]
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
    wait_for(lambda: any(other.led for other in others))
    (leader,) = [other for other in others if other.led]
    assert leader.led == "b" * place + "c"
    group.leave(leader.wish)
    for other in others:
        other.thread.join(10)


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
