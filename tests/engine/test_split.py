"""A store that gets its budget late: the large segments it has are split, and only what must go goes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.maintenance import plan
from stratakv.maintenance.early_end import StoppedError
from stratakv.maintenance.merge import Merger
from tests.engine.machine import Death, Machine, rotate, used

Open = Callable[..., DB]
BUDGET = 2**22
LARGE = 2**26  # segment_bytes of a store that all of this fits into one segment of


def key(number: int) -> bytes:
    """The keys in no order of their own."""
    return b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64)


def fill(db: DB, keys: int = 5000) -> dict[bytes, bytes]:
    """Put 1 KiB under each key; 5,000 are a quarter more than the budget."""
    model = {key(number): os.urandom(16) * 64 for number in range(keys)}
    for each, value in model.items():
        db.put(each, value)
    return model


def entries(db: DB) -> list[tuple[str, int]]:
    return [(each.kind, each.size) for each in db._store.structure.current().manifest.segments]


def left_of(db: DB, model: dict[bytes, bytes]) -> list[bytes]:
    """Return the keys that are left, having seen that each has its value."""
    found = db.get_many(model)
    assert all(model[each] == value for each, value in found.items())
    assert dict(db.scan()).items() >= found.items()
    return list(found)


@pytest.fixture(autouse=True)
def _few_descriptors() -> Iterator[None]:
    """Each store here has dozens of segments, which wait for the garbage collector where it was left open."""
    yield
    gc.collect()


@pytest.fixture(params=["as it was written", "merged"])
def late(request: pytest.FixtureRequest, open_: Open) -> tuple[DB, dict[bytes, bytes]]:
    """A store that has just got its budget, and what it holds."""
    db = open_(segment_bytes=LARGE)
    model = fill(db)
    if request.param == "merged":
        db.compact()
    db.close()
    return open_(segment_bytes=LARGE, max_bytes=BUDGET), model


def test_as_much_stays_as_there_is_room_for(late: tuple[DB, dict[bytes, bytes]]) -> None:
    db, model = late
    report = db.maintain()
    assert (report.split, report.evicted, report.retired) == (1, 0, 0)
    assert 0.8 * BUDGET < used(db.path) <= BUDGET
    assert max(size for _, size in entries(db)) < 1.1 * BUDGET / 32
    left = left_of(db, model)
    assert len(left) > 0.75 * BUDGET / 1100
    assert db.stats().evicted_keys == len(model) - len(left)
    assert db.verify().ok


def test_of_what_was_written_the_newest_stays(open_: Open) -> None:
    db = open_(segment_bytes=LARGE)
    model = fill(db)
    db.close()
    db = open_(segment_bytes=LARGE, max_bytes=BUDGET)
    db.maintain()
    left = left_of(db, model)
    assert set(left) == set(list(model)[-len(left) :])


def test_what_was_read_since_stays(late: tuple[DB, dict[bytes, bytes]], open_: Open) -> None:
    """And counts on: it stays for another round."""
    db, model = late
    read = list(model)[::50]
    for each in read:
        db.get(each)
    db.maintain()
    assert set(left_of(db, model)) >= set(read)
    db.close()
    db = open_(segment_bytes=LARGE, max_bytes=BUDGET // 2)
    db.maintain()
    assert set(read) < set(left_of(db, model))


def test_each_large_segment_is_split(open_: Open) -> None:
    """The oldest gives up what must go, the others stay whole; till then they come on top of the budget."""
    db = open_(segment_bytes=BUDGET * 3 // 8)
    model = fill(db, 4500)
    db.close()
    db = open_(segment_bytes=LARGE, max_bytes=BUDGET)
    assert [kind for kind, _ in entries(db)] == ["main"] * 4
    report = db.maintain()
    assert (report.split, report.evicted, report.retired) == (3, 0, 0)
    assert max(size for _, size in entries(db)) < 1.1 * BUDGET / 32
    left = left_of(db, model)
    assert set(left) == set(list(model)[-len(left) :])
    assert len(left) > 0.75 * BUDGET / 1100
    put_more(db, BUDGET // 2)
    assert len(set(left_of(db, model))) > 0.25 * BUDGET / 1100
    assert db.verify().ok


def test_within_the_budget_all_of_it_stays(open_: Open) -> None:
    """And from then on the store keeps within a tenth of its budget, without maintenance, too."""
    db = open_(segment_bytes=LARGE)
    model = fill(db, 3300)
    db.close()
    db = open_(segment_bytes=LARGE, max_bytes=BUDGET)
    report = db.maintain()
    assert (report.split, report.evicted, report.retired) == (1, 0, 0)
    assert set(left_of(db, model)) == set(model)
    for number in range(BUDGET // 1100):
        db.put(b"%d" % number, bytes(1000))
        assert used(db.path) <= 1.1 * BUDGET


def put_more(db: DB, size: int) -> None:
    """Put so many bytes more, maintained all the while."""
    for number in range(size // 1000):
        db.put(b"%d" % number, bytes(1000))
        if number % 100 == 0:
            db.maintain()


class TestWhatIsHidden:
    """Nothing comes back that is hidden when a segment is split, nor where only the logs are left."""

    def test_before_and_after_the_logs_alone_are_left(
        self, late: tuple[DB, dict[bytes, bytes]], open_: Open, path: Path
    ) -> None:
        db, model = late
        changed, deleted, expired = list(model)[-300:-200], list(model)[-200:-100], list(model)[-100:]
        db.put_many(dict.fromkeys(changed, b"newer"))
        db.delete_many(deleted)
        for each in expired:
            db.put(each, b"brief", ttl=0.001)
        model |= dict.fromkeys(changed, b"newer")
        for each in (*deleted, *expired):
            del model[each]
        rotate(db)
        db.maintain()
        for _ in range(2):
            assert set(db.get_many(changed).values()) == {b"newer"}
            assert db.get_many([*deleted, *expired]) == {}
            assert len(left_of(db, model)) > 0.7 * BUDGET / 1100
            db.close()
            for name in ("MANIFEST", "MANIFEST.old", "CONTROL"):
                (path / name).unlink()
            stratakv.recover(path)
            db = open_(segment_bytes=LARGE, max_bytes=BUDGET)

    def test_it_is_not_moved(self, late: tuple[DB, dict[bytes, bytes]]) -> None:
        db, model = late
        changed = list(model)[-1000:]
        for each in changed:
            model[each] = b"newer"
            db.put(each, b"newer")
        rotate(db)
        assert db.maintain().split == 1
        parts = [e for e in db._store.structure.current().manifest.segments if e.kind == "main"]
        assert sum(entry.keys for entry in parts) == len(left_of(db, model)) - len(changed) > 0

    def test_what_is_written_meanwhile_wins(self, late: tuple[DB, dict[bytes, bytes]]) -> None:
        db, model = late
        changed, deleted = list(model)[-200:-100], list(model)[-100:]
        keys = zip(changed, deleted, strict=True)

        def write(read: int) -> None:
            for put, delete in islice(keys, 20):
                db.put(put, b"newer")
                db.delete(delete)

        db._store.maintenance.run(0.0, write)
        assert next(keys, None) is None
        assert db.get_many([*changed, *deleted]) == dict.fromkeys(changed, b"newer")


class TestWhereItEndsEarly:
    """The parts that are made by then stay, and whoever goes on makes the rest."""

    @pytest.mark.parametrize("steps", [1, 3, 6, 9])
    def test_by_being_stopped(self, late: tuple[DB, dict[bytes, bytes]], steps: int) -> None:
        db, model = late
        left = count(steps, -1)

        def stop(read: int) -> None:
            if not next(left):
                raise StoppedError

        db._store.maintenance.run(0.0, stop)
        assert set(left_of(db, model)) == set(model)
        parts = len(entries(db))
        assert parts > 1 or steps < 6
        moved = sum(size for _, size in entries(db)[:-1])
        dead = db._store.structure.current().manifest.segments[-1].dead
        assert dead == pytest.approx(moved, rel=0.01, abs=100)
        db.maintain()
        assert len(left_of(db, model)) > 0.7 * BUDGET / 1100
        assert used(db.path) <= BUDGET
        assert db.verify().ok

    def test_by_being_stopped_again_and_again(self, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        """However often that is, there are ranks for the parts that follow, and nothing needs to go."""
        calls, run = count(), Merger.run

        def run_once(*arguments: Any, **named: Any) -> Any:
            if next(calls) % 2:
                raise StoppedError
            return run(*arguments, **named)

        monkeypatch.setattr(Merger, "run", run_once)
        db = open_(segment_bytes=LARGE)
        model = fill(db)
        db.compact()
        db.close()
        db = open_(segment_bytes=LARGE, max_bytes=6 * 2**20)
        stopped = 0
        while max(size for _, size in entries(db)) > BUDGET:
            db.maintain()
            stopped += 1
        assert stopped > 20
        assert set(left_of(db, model)) == set(model)
        assert db.verify().ok

    @pytest.mark.parametrize("steps", [30, 100, 200, 300])
    def test_by_death(
        self, late: tuple[DB, dict[bytes, bytes]], open_: Open, machine: Machine, steps: int
    ) -> None:
        db, model = late
        machine.die_after(steps)
        with pytest.raises(Death):
            db.maintain()
        machine.bury(db)
        db = open_(segment_bytes=LARGE, max_bytes=BUDGET)
        assert set(left_of(db, model)) == set(model)
        db.maintain()
        assert len(left_of(db, model)) > 0.7 * BUDGET / 1100
        assert used(db.path) <= BUDGET
        assert {file.stem for file in db.path.glob("0*")} == {f"{n:06d}" for n in numbers(db)}
        assert db.verify().ok

    def test_by_a_writer_that_must_drop_it(self, late: tuple[DB, dict[bytes, bytes]]) -> None:
        """The parts count for the budget, the segment that is split does not."""
        db, model = late
        numbers = iter(range(3000))

        def write(read: int) -> None:
            for _, number in zip(range(300), numbers, strict=False):
                db.put(b"%d" % number, bytes(1000))

        db._store.maintenance.run(0.0, write)
        assert 0 < len(left_of(db, model)) < len(model)
        assert used(db.path) <= 1.1 * BUDGET
        assert db.verify().ok


def numbers(db: DB) -> set[int]:
    return db._store.structure.current().manifest.numbers()


class TestRoom:
    """What a store with a large segment takes."""

    def test_what_it_took_and_the_budget_while_it_is_split(
        self, late: tuple[DB, dict[bytes, bytes]], machine: Machine
    ) -> None:
        db, _ = late
        before, most = used(db.path), 0

        def look(step: str, path: Path) -> None:
            nonlocal most
            most = max(most, used(db.path))

        machine.refuse = look
        db.maintain()
        assert before < most < before + 1.1 * BUDGET

    def test_without_maintenance_it_stays_until_the_budget_is_written_again(
        self, late: tuple[DB, dict[bytes, bytes]]
    ) -> None:
        db, model = late
        before = used(db.path)
        for number in range(BUDGET * 9 // 10 // 1100):
            db.put(b"%d" % number, bytes(1000))
        assert set(left_of(db, model)) == set(model)
        for number in range(BUDGET // 1100):
            db.put(b"more %d" % number, bytes(1000))
            assert used(db.path) <= before + 1.1 * BUDGET
        assert left_of(db, model) == []
        assert used(db.path) <= 1.1 * BUDGET

    def test_on_a_full_disk_it_is_evicted_whole(
        self, late: tuple[DB, dict[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db, model = late
        read = list(model)[::50]
        for each in read:
            db.get(each)
        monkeypatch.setattr(db._store.structure.files, "free", lambda path: 2**19)
        report = db.maintain()
        assert (report.split, report.evicted) == (0, 1)
        assert set(left_of(db, model)) <= set(read)

    def test_where_there_are_no_ranks_between_it_is_evicted_whole(
        self, late: tuple[DB, dict[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db, model = late
        db.get(key(0))
        monkeypatch.setattr(plan, "parts_of", lambda size, max_bytes: 2**40)
        db.maintain()
        assert left_of(db, model) == [key(0)]


def test_a_smaller_budget_than_before(open_: Open) -> None:
    """Its segments were made for the old one."""
    db = open_(segment_bytes=LARGE, max_bytes=16 * BUDGET)
    model = fill(db, keys=6000)
    db.maintain()
    db.close()
    db = open_(segment_bytes=LARGE, max_bytes=BUDGET)
    db.maintain()
    assert 0.7 * BUDGET < used(db.path) <= BUDGET
    assert set(list(model)[-1000:]) <= set(left_of(db, model))
