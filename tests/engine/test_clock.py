"""The wall clock is set back or forward: times to live follow it, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB
from stratakv.maintenance import keeper, work
from stratakv.maintenance.keeper import Keeper
from tests.engine.machine import Machine, in_time

Open = Callable[..., DB]
HOUR, YEAR = 3600.0, 365 * 86_400.0
steps = pytest.mark.parametrize("step", [-YEAR, -HOUR, HOUR, YEAR], ids=["-year", "-hour", "hour", "year"])


def fill(db: DB, ttl: float | None = None) -> None:
    """Write until a segment is sealed."""
    before = len(db.stats().segments)
    number = 0
    while len(db.stats().segments) == before:
        db.put(b"filler-%d" % number, b"v" * 100, ttl=ttl)
        number += 1


class TestTimesToLive:
    @pytest.mark.parametrize("back", [HOUR, YEAR])
    def test_back(self, clock: Any, db: DB, back: float) -> None:
        """What was to live for a minute lives as much longer as the clock went back."""
        db.put(b"k", b"v", ttl=60)
        clock.wait(-back)
        assert db.get(b"k") == b"v"
        assert db.ttl(b"k") == pytest.approx(60 + back)
        clock.wait(back + 59)
        assert dict(db.scan()) == {b"k": b"v"}
        clock.wait(1)
        assert b"k" not in db

    def test_what_had_expired_is_back_with_the_clock(self, clock: Any, db: DB) -> None:
        db.put(b"k", b"v", ttl=60)
        clock.wait(YEAR)
        assert db.get(b"k") is None
        clock.wait(-YEAR)
        assert db.get(b"k") == b"v"
        assert db.ttl(b"k") == pytest.approx(60)

    def test_unless_it_was_tidied_up_meanwhile(self, clock: Any, db: DB) -> None:
        """Then neither it nor what it had replaced comes back."""
        db.put(b"k", b"for ever")
        fill(db)
        db.put(b"k", b"v", ttl=60)
        fill(db, ttl=60)
        clock.wait(YEAR)
        db.maintain()
        clock.wait(-YEAR)
        assert db.get(b"k") in (None, b"v")
        clock.wait(YEAR)
        db.compact()
        clock.wait(-YEAR)
        assert db.get(b"k") is None
        assert b"k" not in dict(db.scan())
        assert db.verify().ok

    def test_what_is_written_ahead_of_time_lives_from_then(self, clock: Any, db: DB) -> None:
        clock.wait(YEAR)
        db.put(b"k", b"v", ttl=60)
        clock.wait(-YEAR)
        assert db.ttl(b"k") == pytest.approx(YEAR + 60)
        assert db.touch(b"k", 60)
        assert db.ttl(b"k") == pytest.approx(60)

    @steps
    def test_what_lives_for_ever(self, clock: Any, db: DB, step: float) -> None:
        db.put(b"k", b"1")
        clock.wait(step)
        assert db.incr(b"k") == 2
        assert db.ttl(b"k") is None
        db.compact()
        assert dict(db.scan()) == {b"k": b"2"}

    def test_the_first_second_there_is(self, clock: Any, open_: Open) -> None:
        """A machine without a battery starts in 1970."""
        clock.now = 0.5
        db = open_()
        db.put(b"k", b"v", ttl=60)
        db.put(b"gone", b"v", ttl=0)
        fill(db)
        db.maintain()
        assert db.get_many([b"k", b"gone"]) == {b"k": b"v"}
        clock.now = 1_800_000_000.0
        assert b"k" not in db


@steps
def test_the_later_write_counts(clock: Any, db: DB, machine: Machine, open_: Open, step: float) -> None:
    """Order is that of the log, never that of the clock: within a segment, across, merged and recovered."""
    db.put(b"k", b"1")
    clock.wait(step)
    db.put(b"k", b"2")
    fill(db)
    clock.wait(step)
    db.put(b"k", b"3")
    fill(db)
    db.delete(b"filler-0")
    clock.wait(step)
    db.maintain()
    assert db.get(b"k") == b"3"
    machine.bury(db)
    machine.reboot()
    db = open_()
    assert db.get(b"k") == b"3"
    clock.wait(-step)
    db.compact()
    assert db.get(b"k") == b"3"
    assert b"filler-0" not in db


@steps
def test_ages_are_none_or_long_but_never_negative(clock: Any, db: DB, step: float) -> None:
    fill(db)
    clock.wait(step)
    fill(db)
    db.maintain()
    stats = db.stats()
    assert stats.age == max(0.0, step)
    assert all(each.age in (0.0, max(0.0, step)) for each in stats.segments)
    db.compact()
    assert db.stats().age == max(0.0, step)


@steps
def test_a_store_with_a_budget_goes_on(clock: Any, open_: Open, step: float) -> None:
    db = open_(max_bytes=2**18)
    with in_time(60):
        for number in range(300):
            if number == 200:
                clock.wait(step)
            db.put(b"%d" % number, bytes(1000), ttl=HOUR / 2)
            if number % 10 == 0:
                db.maintain()
    assert db.stats().disk_bytes <= 1.1 * 2**18
    assert db.get(b"299") == bytes(1000)


class Waits:
    """In place of an event: takes note of how long it is waited for."""

    def __init__(self, keeper: Keeper, rounds: int) -> None:
        self.keeper, self.rounds, self.seconds = keeper, rounds, list[float]()

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.keeper._ending = len(self.seconds) == self.rounds

    def clear(self) -> None:
        pass


class TestWaiting:
    """Nobody waits for a clock that has been set, nor spins because of one."""

    @pytest.fixture
    def expiring(self, clock: Any, db: DB) -> DB:
        fill(db, ttl=30)
        db.maintain()
        return db

    @pytest.mark.parametrize(
        ("step", "expected"), [(0, 30), (-HOUR, 60), (-YEAR, 60), (HOUR, 60), (YEAR, 60), (30, 60)]
    )
    def test_the_watch(
        self, clock: Any, expiring: DB, monkeypatch: pytest.MonkeyPatch, step: float, expected: float
    ) -> None:
        """It wakes when the next segment expires, but once a minute in any case."""
        clock.wait(step)
        store = expiring._store
        watch = Keeper(store.maintenance, store.directory, {})
        monkeypatch.setattr(watch, "_see_to_it", lambda: None)
        watch._news = waits = Waits(watch, 3)  # type: ignore[assignment]
        watch._watch()
        assert keeper._LONGEST_WAIT == 60
        assert waits.seconds == [pytest.approx(expected, abs=1)] * 3

    @steps
    def test_maintenance_at_work(
        self, clock: Any, expiring: DB, monkeypatch: pytest.MonkeyPatch, step: float
    ) -> None:
        clock.wait(step)
        slept: list[float] = []
        monkeypatch.setattr(work.time, "sleep", slept.append)
        expiring._store.maintenance._wait(0.1)
        assert slept == [0.1]

    @steps
    def test_the_interval_of_syncs(self, open_: Open, machine: Machine, clock: Any, step: float) -> None:
        db = open_(durability="interval", sync_interval=0.01)
        for number in range(3):
            synced = machine.names().count("fdatasync")
            db.put(b"%d" % number, b"v")
            clock.wait(step)
            with in_time(30):
                while machine.names().count("fdatasync") == synced:
                    time.sleep(0.01)


@steps
def test_opened_in_another_year(
    clock: Any, db: DB, machine: Machine, open_: Open, path: Path, step: float
) -> None:
    """After a clean close, a kill and a reboot: what does not expire is there."""
    db.put(b"k", b"v")
    db.put(b"ttl", b"v", ttl=60)
    fill(db)
    db.close()
    clock.wait(step)
    live = {b"k", b"ttl"} if step < 0 else {b"k"}
    db = open_()
    assert {key for key, _ in db.scan() if not key.startswith(b"filler")} == live
    machine.bury(db)
    db = open_()
    db.put(b"more", b"v")
    machine.bury(db)
    machine.reboot()
    db = open_()
    assert {key for key, _ in db.scan() if not key.startswith(b"filler")} == live | {b"more"}
