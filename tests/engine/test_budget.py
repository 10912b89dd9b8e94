"""The budget: what it holds, what goes for it, and what stays."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, budget
from stratakv.control import Figure
from stratakv.files import Files
from stratakv.maintenance import merge
from stratakv.maintenance.task import Task
from stratakv.maintenance.tasks import Tasks
from tests.engine.conftest import Open
from tests.engine.machine import Machine, entries, fill, flip, rotate, used

BUDGET = 2**20


class Peak:
    """The most that a store has taken of the disk, looked at before each step that changes the disk.

    beside: what others do at that moment.
    """

    def __init__(self, machine: Machine, db: DB, beside: Callable[[str], None] = lambda step: None) -> None:
        self._path = db.path
        self._beside = beside
        self.bytes = 0
        machine.refuse = self._look

    def _look(self, step: str, path: Path) -> None:
        self.bytes = max(self.bytes, used(self._path))
        self._beside(step)


@pytest.fixture
def promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a budget is never passed by a tenth is promised for larger ones, which take longer to fill."""
    monkeypatch.setattr(budget, "_SMALL", BUDGET)


def put_wanted(db: DB) -> list[bytes]:
    """Put what is to be read again and again; return the keys."""
    wanted = [b"wanted%d" % number for number in range(50)]
    for key in wanted:
        db.put(key, bytes(500))
    return wanted


class TestBudget:
    def test_it_is_kept_by_maintenance(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=64 * 2**20)
        for number in range(6000):
            db.put(b"%d" % number, os.urandom(random.Random(number).randrange(2000)))
            if number % 20 == 0:
                db.maintain()
                assert used(path) <= BUDGET
        assert used(path) > 0.8 * BUDGET, "a budget is for using"
        assert db.stats().evicted_keys > 4000
        assert db.verify().ok

    def test_it_is_kept_without_maintenance(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for number in range(6000):
            db.put(b"%d" % number, os.urandom(random.Random(number).randrange(2000)))
            if number % 8 == 0:
                assert used(path) <= 1.1 * BUDGET
        assert used(path) > 0.8 * BUDGET
        assert db.get(b"5999") is not None
        assert db.get(b"0") is None
        assert db.verify().ok

    def test_a_file_of_which_the_kernel_does_not_tell_the_size(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db = open_(max_bytes=BUDGET)

        def refuse(path: Path) -> int:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as here:
            here.setattr(db._store.directory.files, "allocated", refuse)
            with pytest.raises(stratakv.StorageError, match="Input/output error"):
                fill(db, keys=6000, size=1000)
        db.put(b"k", b"v")
        assert db.get(b"k") == b"v"

    def test_a_batch_that_needs_the_room_of_many(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        fill(db, keys=2000, size=400)
        db.put(b"large", bytes(BUDGET // 4 - 100))
        assert used(path) <= 1.1 * BUDGET
        assert len(db.get(b"large") or b"") == BUDGET // 4 - 100

    def test_a_large_value_among_short_ones_never_passes_it(self, open_: Open, machine: Machine) -> None:
        """Not even while its segment is made and the oldest ones go for it."""
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        peak = Peak(machine, db)
        for batch in range(200):
            db.put_many({b"%d %d" % (batch, number): bytes(20) for number in range(100)})
        db.put(b"large", bytes(BUDGET // 4 - 100))
        assert peak.bytes <= 1.1 * BUDGET
        assert len(db.get(b"large") or b"") == BUDGET // 4 - 100
        assert db.verify().ok

    @pytest.mark.parametrize("beside", [0, 20])
    @pytest.mark.usefixtures("promised")
    def test_what_maintenance_writes_never_passes_it(
        self, open_: Open, machine: Machine, beside: int
    ) -> None:
        """Short values have large indexes. Others write while it works, until they must begin a segment."""
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        numbers = count()

        def put(step: str = "pwrite") -> None:
            if step == "pwrite" and not db._store.committer.owner:
                for _ in range(beside):
                    db.put(b"beside %d" % next(numbers), bytes(20))

        peak = Peak(machine, db, put)
        for batch in range(250):
            db.put_many({b"%d %d" % (batch, number): bytes(20) for number in range(100)})
            for number in range(0, 100, 3):
                db.get(b"%d %d" % (max(0, batch - number), number))
            if batch % 8 == 7:
                db.maintain()
        assert peak.bytes <= 1.1 * BUDGET
        assert used(db.path) > 0.8 * BUDGET
        assert db.verify().ok

    @pytest.mark.usefixtures("promised")
    def test_a_large_value_that_was_read_is_not_moved_beyond_it(self, open_: Open, machine: Machine) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        peak = Peak(machine, db)
        chance = random.Random(1)
        for number in range(700):
            db.put(b"%d" % number, bytes(BUDGET // 8 if number % 25 == 0 else 1000))
            for _ in range(3):
                db.get(b"%d" % chance.randrange(number + 1))
            if number % 20 == 0:
                db.maintain()
        assert peak.bytes <= 1.1 * BUDGET
        assert used(db.path) > 0.8 * BUDGET
        assert db.verify().ok

    @pytest.mark.parametrize("how", ["put", "put_many", "add", "transaction"])
    def test_what_is_larger_than_a_quarter_is_refused(self, open_: Open, how: str) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        model = fill(db, keys=50)
        large = bytes(BUDGET // 4 + 1)

        def in_transaction() -> None:
            with db.transaction() as tx:
                tx.put(b"a", large)

        ways: dict[str, Callable[[], object]] = {
            "put": lambda: db.put(b"a", large),
            "put_many": lambda: db.put_many(dict.fromkeys((b"a", b"b"), large[: len(large) // 2])),
            "add": lambda: db.add(b"a", large),
            "transaction": in_transaction,
        }
        with pytest.raises(stratakv.InvalidValueError, match="max_bytes"):
            ways[how]()
        assert dict(db.scan()) == model
        db.put(b"a", b"v")
        assert db.get(b"a") == b"v"

    def test_it_holds_at_once_in_a_store_that_had_none(self, open_: Open, path: Path) -> None:
        open_(segment_bytes=2**26).close()
        db = open_(segment_bytes=2**26, max_bytes=BUDGET)
        for number in range(4000):
            db.put(b"%d" % number, os.urandom(1000))
        assert used(path) <= 1.1 * BUDGET

    def test_deletes_are_never_too_many(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        keys = [b"%0300d" % number for number in range(1500)]
        for key in keys:
            db.put(key, b"")
        there = len(list(db.keys()))
        assert there * 328 > BUDGET // 4
        assert db.delete_many(keys) == there
        assert list(db.keys()) == []

    def test_readers_of_all_of_it_do_not_have_it_rewritten_for_ever(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for number in range(1900):
            db.put(b"%d" % number, bytes(500))
            for each in range(max(0, number - 3), number):
                db.get(b"%d" % each)
        before = db.stats().rewritten_bytes
        for _ in range(40):
            for number in range(1900):
                db.get(b"%d" % number)
            task = db._store.maintenance.due.next_task()
            if task is None:
                break
            db.maintain()
        assert db._store.maintenance.due.next_task() is None
        assert db.stats().rewritten_bytes - before < 2 * BUDGET

    def test_deleting_prefixes_keeps_it_too(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for number in range(150):
            db.put(b"%d" % number, bytes(1000))
            db.delete_prefix(b"none-%d" % number)
            assert used(path) <= 1.1 * BUDGET

    def test_deleting_prefixes_costs_the_other_keys_no_room(self, open_: Open, path: Path) -> None:
        """Each begins a segment, also behind one that is too long to be handed over to the next."""
        db = open_(max_bytes=2**23, segment_bytes=2**26)
        model = fill(db, keys=3000, size=1000)
        db.get(b"0007")
        for _ in range(34):
            db.put_many({b"x%d" % number: bytes(100) for number in range(600)})
            db.delete_prefix(b"none")
        assert {key: db.get(key) for key in model} == model
        assert db.stats().evicted_keys == 0
        assert db.verify().ok

    def test_what_was_read_is_known_of_a_segment_that_ends_early(self, open_: Open) -> None:
        db = open_(max_bytes=2**23, segment_bytes=2**26)
        db.put(b"k", bytes(70_000))
        db.get(b"k")
        db.delete_prefix(b"x")
        assert sum(db._store.structure.current().sealed[0].hot) == 1

    def test_an_index_that_finds_no_room_leaves_nothing_behind(
        self, open_: Open, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each prefix that is deleted behind much else tries to make a smaller one."""

        def refuse(files: Files, fd: int, size: int) -> None:
            files.write_all(fd, bytes(size // 2), 0)
            raise OSError(errno.ENOSPC, "No space left on device")

        db = open_(segment_bytes=2**26)
        monkeypatch.setattr(Files, "allocate_large", refuse)
        for number in range(3):
            db.put(b"x%d" % number, bytes(70_000))
            db.delete_prefix(b"none")
        assert len(entries(db)) == 3
        assert not list(path.glob("*.tmp"))

    def test_ghosts_are_a_small_part_of_it(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=2**23, segment_bytes=2**26)
        for number in range(60_000):
            db.put(b"%d" % number, bytes(150))
            if number % 500 == 0:
                db.maintain()
        db.close()
        assert (path / "GHOSTS").stat().st_size < 2**23 // 50
        db = open_(max_bytes=2**19, segment_bytes=2**26)
        db.maintain()
        assert used(path) <= 1.1 * 2**19
        assert len(list(db.keys())) > 1000

    def test_a_small_one_for_a_small_store_costs_nothing(self, open_: Open) -> None:
        """The index of a segment that was begun without a budget is larger than this budget."""
        db = open_(segment_bytes=2**26)
        model = fill(db, keys=900, size=300)
        db.close()
        db = open_(segment_bytes=2**26, max_bytes=BUDGET)
        model |= fill(db, keys=100, size=300)
        assert dict(db.scan()) == model

    def test_what_is_read_stays(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        wanted = put_wanted(db)
        for number in range(10_000):
            db.put(b"%d" % number, bytes(500))
            if number % 20 == 0:
                for key in wanted:
                    assert db.get(key) is not None, (key, number)
                db.maintain()
        assert db.stats().evicted_keys > 7000

    def test_what_is_read_stays_beside_a_damaged_segment(self, open_: Open) -> None:
        """It grows old as others do, and does not cost what is older than it."""
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        wanted = put_wanted(db)
        for number in range(12_000):
            db.put(b"%d" % number, bytes(500))
            if number % 20 == 0:
                assert len(db.get_many(wanted)) == 50, number
                with suppress(stratakv.CorruptionError):
                    db.maintain()
            if number == 5_000:
                segment = db._store.structure.current().sealed[0]
                flip(segment.path, segment.start + 100)
        assert db.stats().evicted_keys > 7000

    @pytest.mark.parametrize(
        "use",
        [
            lambda db: db.get(b"session") and db.put(b"session", bytes(300)) is None,
            lambda db: db.touch(b"session", 1000),
            lambda db: db.incr(b"visits") > 1,
        ],
        ids=["get and put", "touch", "incr"],
    )
    def test_what_is_read_and_written_again_stays(self, open_: Open, use: Callable[[DB], bool]) -> None:
        """No version of it is read after it has left its young segment."""
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        db.put_many({b"session": bytes(300), b"visits": b"1"})
        for number in range(12_000):
            if number % (BUDGET * 3 // 10 // 600) == 0:  # more than the share of the young, less than all
                assert use(db), number
            db.put(b"%d" % number, bytes(500))
            if number % 20 == 0:
                db.maintain()

    def test_a_retirement_that_is_given_up_forgets_no_reads(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=2**23, segment_bytes=2**26)
        db.put(b"session", b"old")
        db.get(b"session")
        db.compact()
        db.get(b"session")
        for number in range(2):
            db.put(b"%d" % number, b"v")
            rotate(db)
        db.put(b"session", b"new")
        rotate(db)
        db.maintain()
        store = db._store
        young = entries(db)[0].number

        def full() -> None:
            raise stratakv.StorageError(path, OSError(28, "No space left on device"), "")

        for sync in full, store.syncer.reach_tip:
            with suppress(stratakv.StorageError):
                tasks = Tasks(store.structure, store.committer, sync, lambda read: None)
                tasks.do(Task("retire", (young,)))
        assert db.get(b"session") == b"new"

    def test_what_goes_waits_for_what_is_not_on_disk(self, open_: Open, machine: Machine) -> None:
        """A power cut that took the newer version would find the older one evicted for it."""
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        seen = {"retired": 0, "evicted": 0}
        for number in range(4000):
            db.put(b"%d" % number, bytes(500))
            db.get(b"%d" % number)
            if number % 10 or all(seen.values()):
                continue
            active, start = f"{db.stats().segments[0].number:06d}.log", len(machine.steps)
            report = db.maintain()
            if report.retired or report.evicted:
                seen["retired"] += report.retired
                seen["evicted"] += report.evicted
                steps = [(name, file.name) for name, file in machine.steps[start:]]
                installed = max(n for n, step in enumerate(steps) if step == ("rename", "MANIFEST.tmp"))
                assert ("fdatasync", active) in steps[:installed]
        assert all(seen.values())

    def test_a_key_that_returns_is_stored_hot(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for number in range(3000):
            db.put(b"%d" % number, bytes(500))
            db.maintain()
        gone = next(key for key in (b"%d" % n for n in range(2999, 0, -1)) if key not in db)
        rotate(db)
        db.put(gone, b"v")
        db.put(b"new", b"v")
        assert sum(db._store.structure.current().active.hot) == 1

    def test_the_budget_belongs_to_the_store(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        db.close()
        db = open_()
        assert db.stats().max_bytes == BUDGET
        db.close()
        db = open_(max_bytes=0)
        assert db.stats().max_bytes == 0
        db.close()
        assert open_().stats().max_bytes == 0

    def test_a_store_that_is_given_a_smaller_budget(self, open_: Open, path: Path) -> None:
        db = open_(segment_bytes=2**15)
        fill(db, keys=5000, size=500)
        db.maintain()
        db.close()
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        db.maintain()
        assert used(path) <= BUDGET
        assert db.verify().ok

    def test_reads_are_counted_only_with_a_budget(self, open_: Open) -> None:
        db = open_()
        db.put(b"k", b"v")
        db.get(b"k")
        assert not any(db._store.structure.current().active.hot)
        db.close()
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for _ in range(5):
            db.get(b"k")
            assert b"k" in db
        assert sum(db._store.structure.current().active.hot) == 3, "three, however often"

    def test_what_was_read_is_known_when_the_index_is_finished_or_merged(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        fill(db, keys=40)
        db.get(b"0003")
        db.get(b"0003")
        db.get(b"0007")
        rotate(db)
        assert db.maintain().finished == 1
        assert sum(db._store.structure.current().sealed[0].hot) == 3
        db.put(b"0007", b"written anew")
        rotate(db)
        db.compact()
        assert [sum(segment.hot) for segment in db._store.structure.current().sealed] == [2]

    def test_more_keys_come_than_a_merge_expected(self, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its index is made for those that seem to live, which is an estimate."""
        monkeypatch.setattr(merge, "living_keys", lambda segment: 1)
        db = open_(max_bytes=64 * BUDGET, segment_bytes=2**26)
        found = fill(db, keys=9000)  # in more blocks than one
        for number in range(0, 9000, 7):
            db.get(b"%04d" % number)
        rotate(db)
        db.put(b"other", b"")
        rotate(db)
        db.compact()
        (segment,) = db._store.structure.current().sealed
        assert len(segment.hot) < 9000 * 2, "no larger than it needs to be"
        assert sum(segment.hot) == len(range(0, 9000, 7))
        assert dict(db.scan()) == db.get_many([*found, b"other"]) == found | {b"other": b""}
        assert db.verify().ok

    def test_compaction_evicts_nothing(self, open_: Open) -> None:
        """Where the budget has no room for what it would write, it leaves segments as they are."""
        db = open_(max_bytes=4 * BUDGET, segment_bytes=2**26)
        fill(db, keys=500, size=4000)
        for name in (b"large", b"larger"):
            db.put(name, bytes(880_000))
        db.put(b"small", b"")
        db.maintain()
        found = dict(db.scan())
        assert len(found) == 503
        db.compact()
        assert dict(db.scan()) == found
        assert db.stats().evicted_keys == 0

    def test_a_second_compaction_rewrites_nothing(self, open_: Open, clock: Any) -> None:
        db = open_(max_bytes=4 * BUDGET, segment_bytes=2**26)
        found = fill(db, keys=500, size=2000)
        db.put(b"short-lived", b"", ttl=60)

        def rewritten() -> int:
            before: int = db._store.control.total(Figure.REWRITTEN)
            db.compact()
            return db._store.control.total(Figure.REWRITTEN) - before

        assert rewritten() > 500 * 2000
        assert rewritten() == 0
        db.put(b"0007", b"written anew")
        assert 0 < rewritten() < 500 * 2000, "of the segment that had it before"
        clock.now += 61
        assert 0 < rewritten() < 500 * 2000
        assert dict(db.scan()) == found | {b"0007": b"written anew"}

    def test_compaction_keeps_the_generations(self, open_: Open) -> None:
        db = open_(max_bytes=BUDGET, segment_bytes=2**26)
        for number in range(3000):
            db.put(b"%d" % (number % 1000), os.urandom(600))
            db.maintain()
        kinds = [segment.kind for segment in db.stats().segments]
        assert kinds.count("main") > 3
        found = dict(db.scan())
        db.compact()
        after = [segment.kind for segment in db.stats().segments]
        assert abs(after.count("main") - kinds.count("main")) <= 1
        assert after.count("young") > 1
        assert max(segment.log_bytes for segment in db.stats().segments) <= BUDGET // 32 + 1000
        assert sum(segment.keys for segment in db.stats().segments) == len(found)
        assert dict(db.scan()) == found
        assert db.verify().ok


def test_a_large_file_of_somebody_else_takes_all_of_the_budget(open_: Any, path: Path) -> None:
    """Only what is being written is left then, and writing goes on."""
    db = open_(max_bytes=2**18)
    (path / "large").write_bytes(bytes(2**19))
    for number in range(200):
        db.put(b"%d" % number, bytes(1000))
        assert db.get(b"%d" % number) == bytes(1000)
    assert db.verify().ok
