"""What was overwritten, deleted or has expired never comes back, in whatever order segments are merged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.maintenance.merge import Merger, job_of
from stratakv.maintenance.task import Task
from stratakv.maintenance.tasks import Tasks

Open = Callable[..., DB]

ACTIONS: dict[str, Callable[[DB], object]] = {
    "old": lambda db: db.put(b"k", b"old"),
    "new": lambda db: db.put(b"k", b"new"),
    "brief": lambda db: db.put(b"k", b"brief", ttl=5),
    "delete": lambda db: db.delete(b"k"),
    "delete prefix": lambda db: db.delete_prefix(b"k"),
}
# Which of three actions' segments are merged, one merge after the other; 0 is the oldest.
ORDERS = [
    [{0}],
    [{1}],
    [{2}],
    [{0, 1}],
    [{1, 2}],
    [{0, 1, 2}],
    [{0, 1}, {0, 1, 2}],
    [{1, 2}, {0, 1, 2}],
    [{2}, {1, 2}, {0, 1, 2}],
    [{1}, {0, 1}, {0, 1, 2}],
]


class Layers:
    """A store and the numbers of the segments that each action is in."""

    def __init__(self, db: DB) -> None:
        self.db = db
        self.numbers: list[set[int]] = []

    def act(self, name: str) -> None:
        """Do one action, in segments of its own."""
        known = self.sealed()
        ACTIONS[name](self.db)
        with self.db._store.committer.hold() as held:
            self.db._store.structure.rotate(held)
        self.numbers.append(self.sealed() - known)

    def sealed(self) -> set[int]:
        return {segment.number for segment in self.db._store.structure.current().sealed}

    def merge(self, places: set[int]) -> None:
        store = self.db._store
        wanted = set().union(*(self.numbers[place] for place in places))
        view = store.structure.current()
        inputs = [segment for segment in view.sealed if segment.number in wanted]
        if not inputs:
            return
        merger = Merger(store.structure, store.committer, lambda read: None)
        made = merger.run(view, job_of(view, inputs, "main"))
        for place in places:
            self.numbers[place] = {made.number} if made else set()


def expect(db: DB, value: bytes | None, what: object) -> None:
    assert db.get(b"k") == value, what
    found = {} if value is None else {b"k": value}
    assert db.get_many([b"k"]) == found, what
    assert dict(db.scan(b"k")) == found, what
    assert list(db.keys(b"k")) == list(found), what


@pytest.mark.parametrize("expire_first", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_merged_in_any_order(open_: Open, clock: Any, order: list[set[int]], expire_first: bool) -> None:
    db = open_()
    for names in itertools.product(ACTIONS, repeat=3):
        db.clear()
        layers = Layers(db)
        for name in names:
            layers.act(name)
        value = None if names[-1].startswith("delete") else names[-1].encode()
        if expire_first:
            clock.wait(5)
            value = None if value == b"brief" else value
        for places in order:
            layers.merge(places)
            expect(db, value, (names, places))
        clock.wait(5)
        value = None if value == b"brief" else value
        expect(db, value, names)
        db.compact()
        clock.wait(-10)  # a merge that dropped the newest version alone would show now
        expect(db, value, names)
    assert db.verify().ok


def test_overwritten_with_a_shorter_life(open_: Open, clock: Any) -> None:
    db = open_()
    layers = Layers(db)
    db.put(b"k", b"long", ttl=100)
    layers.act("brief")
    clock.wait(5)
    layers.merge({0})
    expect(db, None, "merged")
    assert db.maintain().dropped == 0, "its segment holds what hides the longer life"
    expect(db, None, "maintained")


def test_deleted_by_range_then_put_again(open_: Open) -> None:
    db = open_()
    layers = Layers(db)
    layers.act("old")
    layers.act("delete prefix")
    layers.act("new")
    for places in ({1, 2}, {0, 1, 2}):
        layers.merge(places)
        expect(db, b"new", places)
    db.delete(b"k")
    db.compact()
    expect(db, None, "compacted")


def test_expired_in_a_middle_generation(open_: Open, clock: Any) -> None:
    """A segment that has expired as a whole lies between two others: it goes, what it hides does not show."""
    db = open_()
    layers = Layers(db)
    layers.act("old")
    db.put(b"unrelated", b"v", ttl=5)
    layers.act("brief")
    db.put(b"other", b"v")
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)
    db.maintain()
    (middle,) = layers.numbers[1]
    clock.wait(5)
    db.maintain()
    assert middle not in layers.sealed(), "it was not looked at"
    expect(db, None, "maintained")
    assert sum(segment.keys for segment in db.stats().segments) == 3, "old, its tombstone, other"


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("last", ["new", "delete", "brief", "delete prefix"])
def test_evicted_young_versions_hide_older_main_ones(open_: Open, clock: Any, last: str, hot: bool) -> None:
    """The newest version is in a young segment that is retired, an older one in a main segment that stays."""
    db = open_(max_bytes=2**20)
    db.put(b"k", b"old")
    db.put(b"stays", b"v")
    db.compact()
    _age(db)
    ACTIONS[last](db)
    if hot:
        db.get(b"k")
    if last == "brief":
        clock.wait(5)
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)
    _retire(db)
    expected = last.encode() if hot and last == "new" else None
    expect(db, expected, "retired")
    db.compact()
    expect(db, expected, "compacted")
    assert db.get(b"stays") == b"v"
    assert db.verify().ok


def test_a_main_segment_that_takes_what_moves_keeps_what_it_has(open_: Open) -> None:
    """It is the only one, and so the oldest of all; only the young segment is retired."""
    db = open_(max_bytes=2**20)
    (main,) = _mains(db, lambda: db.put(b"unread", b"v"))
    db.put(b"read", b"v")
    db.get(b"read")
    db.put(b"k", b"unread, too")
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)
    _tasks(db).do(Task("retire", (db.stats().segments[1].number, main)))
    assert dict(db.scan()) == {b"unread": b"v", b"read": b"v"}


def test_a_budget_that_comes_late_turns_nothing_back(open_: Open) -> None:
    """What was swept before there was a budget is a main segment among young ones."""
    db = open_(segment_bytes=2**15)
    for number in range(60):
        db.put(b"old-%d" % number, bytes(500))
    db.put(b"k", b"old")
    db.get(b"k")
    for round in range(12):
        for number in range(60):
            db.put(b"%d-%d" % (round % 3, number), bytes(500))
        if round == 5:
            db.put(b"k", b"new")
        db.maintain()
    size = db.stats().disk_bytes
    db.close()
    db = open_(segment_bytes=2**15, max_bytes=max(2**18, size - 50_000))
    for _ in range(50):
        assert db.get(b"k") in (None, b"new")
        task = db._store.maintenance.due.next_task()
        if task is None:
            break
        _tasks(db).do(task)
    else:
        raise AssertionError("it never ends")
    assert db.verify().ok


def test_ranks_never_reach_those_of_the_young(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratakv.log.RANKS_PER_NUMBER", 4)
    db = open_(max_bytes=2**20)

    def layer(name: bytes) -> Callable[[], object]:
        return lambda: (db.put(name, b"v"), db.get(name))

    _mains(db, *(layer(b"main-%d" % number) for number in range(4)))
    for _ in range(20):
        for number in range(4):
            db.get(b"main-%d" % number)
        oldest = db.stats().segments[-1].number
        _evict(db, oldest)
        ranks = [(s.header.oldest, s.header.newest) for s in db._store.structure.current().segments()]
        assert all(low > high for (low, _), (_, high) in itertools.pairwise(ranks)), ranks
    db.put(b"main-0", b"new")
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)
    assert db.get(b"main-0") == b"new"
    assert dict(db.scan()) == {b"main-0": b"new"} | {
        b"main-%d" % number: b"v" for number in range(1, 4) if b"main-%d" % number in db
    }


def _mains(db: DB, *layers: Callable[[], object]) -> list[int]:
    """Do each of `layers` in a main segment of its own; return their numbers, oldest first."""
    numbers = []
    for layer in layers:
        layer()
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        numbers.append(db.stats().segments[1].number)
        _age(db)
    return numbers


def _evict(db: DB, number: int) -> None:
    _tasks(db).do(Task("evict", (number,)))


def _tasks(db: DB) -> Tasks:
    return Tasks(db._store.structure, db._store.committer, db._store.syncer.reach_tip, lambda moved: None)


def test_a_replaced_version_does_not_move_over_a_newer_main_one(open_: Open) -> None:
    """It was read before it was replaced; both are in main segments, and the older one is retired."""
    db = open_(max_bytes=2**20)

    def old() -> None:
        db.put(b"k", b"old")
        db.put(b"read", b"v")
        db.get(b"k")
        db.get(b"read")

    oldest, _, _ = _mains(db, old, lambda: db.put(b"k", b"new"), lambda: db.put(b"x", b"v"))
    _evict(db, oldest)
    expect(db, b"new", "evicted")
    assert db.get(b"read") == b"v", "it was read, so it moved"
    assert db.verify().ok


def test_a_retired_range_tombstone_does_not_reach_what_came_after_it(open_: Open) -> None:
    db = open_(max_bytes=2**20)

    def range_tombstone() -> None:
        db.delete_prefix(b"k")
        db.put(b"read", b"v")
        db.get(b"read")

    oldest, _ = _mains(db, range_tombstone, lambda: db.put(b"k", b"new"))
    _evict(db, oldest)
    expect(db, b"new", "evicted")
    assert db.get(b"read") == b"v"


@pytest.mark.parametrize("read", [False, True])
def test_an_evicted_log_that_turns_up_again_is_void(open_: Open, path: Path, read: bool) -> None:
    """Its file was not removed in time, and the manifest is lost: the logs that are younger know of it."""
    db = open_(max_bytes=2**20)

    def old() -> None:
        db.put(b"k", b"old")
        db.put(b"read", b"v")
        if read:
            db.get(b"read")

    oldest, _ = _mains(db, old, lambda: db.put(b"x", b"v"))
    kept = {name: (path / name).read_bytes() for name in (f"{oldest:06d}.log", f"{oldest:06d}.idx")}
    _evict(db, oldest)
    if not read:  # nothing moved into a log that could tell
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
    db.close()
    for name, data in kept.items():
        (path / name).write_bytes(data)
    (path / "MANIFEST").unlink()
    stratakv.recover(path)
    db = open_()
    assert db.get(b"k") is None
    assert db.get(b"x") == b"v"
    assert db.get(b"read") == (b"v" if read else None)


def _age(db: DB) -> None:
    """Let every sealed segment come of age."""
    for segment in reversed(db._store.structure.current().sealed):
        _tasks(db).do(Task("adopt", (segment.number,)))


def _retire(db: DB) -> None:
    """Retire every young segment, the oldest first."""
    structure = db._store.structure
    while young := [e.number for e in structure.current().manifest.segments if e.kind == "young"]:
        _tasks(db).do(Task("retire", (young[-1],)))
