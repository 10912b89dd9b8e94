"""Maintenance: what it leaves of a store, and what a death inside it costs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.maintenance import blocks, work
from stratakv.maintenance.keeper import Keeper
from stratakv.maintenance.tasks import Tasks
from tests.engine.machine import Death, Machine, entries, fill, flip, rotate, used

Open = Callable[..., DB]
BUDGET = 2**20


class TestAtRest:
    """Who lingers sees when a store is at rest, and then makes lookups cheaper."""

    def test_segments_become_few_and_writing_stays_bounded(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "_REST", 0.01)
        db = open_()
        model: dict[bytes, bytes] = {}
        for turn in range(12):
            for number in range(2):
                model |= {b"%d %d %d" % (turn, number, key): b"v" * 100 for key in range(20)}
                db.put_many({key: model[key] for key in list(model)[-20:]})
                rotate(db)
            db.maintain(linger=0.03)
        assert len(entries(db)) <= 4
        written, rewritten = db.stats().bytes_written, db.stats().rewritten_bytes
        assert written < rewritten <= 2.5 * written
        assert dict(db.scan()) == model
        assert db.verify().ok

    def test_who_does_not_linger_leaves_them(self, open_: Open) -> None:
        db = open_()
        for number in range(6):
            db.put(b"%d" % number, b"v")
            rotate(db)
        assert db.maintain(linger=0.05).merged == 0
        assert len(entries(db)) == 6


class TestFinishing:
    def test_every_sealed_index_gets_its_final_form(self, db: DB, path: Path) -> None:
        model = fill(db, keys=500, size=30)
        sealed = len(db.stats().segments) - 1
        before = sum(segment.index_bytes for segment in db.stats().segments[1:])
        report = db.maintain()
        assert report.finished == sealed
        assert all(entry.finished for entry in entries(db))
        assert sum(segment.index_bytes for segment in db.stats().segments[1:]) < before
        assert {key: db.get(key) for key in model} == model
        assert dict(db.scan()) == model
        assert db.verify().ok
        assert not list(path.glob("*.tmp"))

    def test_it_tells_what_it_has_counted_and_asks_whether_to_go_on(self, db: DB) -> None:
        fill(db, keys=30)
        rotate(db)
        db.maintain(stop=lambda: True)
        assert not entries(db)[0].finished
        told: list[int] = []
        db._store.maintenance.run(0.0, told.append)
        assert entries(db)[0].finished
        segment = db._store.structure.current().sealed[0]
        assert sum(told) == segment.end - segment.start

    def test_the_order_is_on_disk_and_checked(self, db: DB, open_: Open, path: Path) -> None:
        fill(db, keys=100)
        rotate(db)
        while entries(db)[0].finished is False:
            db.maintain()
        segment = db._store.structure.current().sealed[0]
        order = segment.arrays.order
        assert len(order) == segment.entry.keys
        assert [segment.sound(offset).key for offset in order] == sorted(
            segment.sound(offset).key for offset in order
        )
        db.close()
        flip(path / f"{segment.number:06d}.idx", segment.arrays.shape.order_offset)
        db = open_()  # finds the checksum wrong, and builds it again
        assert db.verify().ok
        assert len(db._store.structure.current().sealed[0].arrays.order) == len(order)

    def test_an_order_that_is_not_the_logs_is_damage(self, db: DB) -> None:
        fill(db, keys=30)
        rotate(db)
        db.maintain()
        arrays = db._store.structure.current().sealed[0].arrays
        arrays.order[0], arrays.order[1] = arrays.order[1], arrays.order[0]
        reasons = [damage.reason for damage in db.verify().damage]
        assert any("key order" in reason for reason in reasons)

    def test_dead_bytes_are_counted_where_they_lie(self, db: DB) -> None:
        db.put(b"a", b"x" * 100)
        db.put(b"b", b"x" * 100)
        db.put(b"most", b"x" * 1000)
        rotate(db)
        db.put(b"a", b"y" * 10)
        db.put(b"c", b"1" * 50)
        db.put(b"c", b"2" * 50)
        db.delete(b"b")
        rotate(db)
        db.maintain()
        newest, oldest = entries(db)
        assert oldest.dead == 2 * (28 + 1 + 100)
        assert newest.dead == 28 + 1 + 50
        assert newest.tombstones == 28 + 1
        live = sum(segment.live_bytes for segment in db.stats().segments)
        dead = sum(segment.dead_bytes for segment in db.stats().segments)
        assert (db.stats().live_bytes, db.stats().dead_bytes) == (live, dead)
        assert live + dead == db.stats().log_bytes

    def test_expiries_are_noted(self, db: DB, clock: Any) -> None:
        db.put(b"a", b"v", ttl=10)
        db.put(b"b", b"v", ttl=20)
        rotate(db)
        db.put(b"c", b"v", ttl=30)
        db.put(b"d", b"v")
        rotate(db)
        db.maintain()
        newest, oldest = entries(db)
        now = int(clock.now * 1000)
        assert (oldest.soonest, oldest.latest) == (now + 10_000, now + 20_000)
        assert (newest.soonest, newest.latest) == (now + 30_000, 0)


class TestExpiry:
    def test_a_segment_goes_when_all_of_it_has_expired(self, db: DB, clock: Any, path: Path) -> None:
        for number in range(200):
            db.put(b"brief%d" % number, b"x" * 50, ttl=10)
        rotate(db)
        db.put(b"k", b"v")
        db.maintain()
        before = used(path)
        clock.wait(9)
        assert db.maintain().dropped == 0
        clock.wait(1)
        report = db.maintain()
        assert report.dropped + report.merged > 0
        assert used(path) < before
        assert [segment.kind for segment in db.stats().segments] == ["active"]
        assert db.get(b"k") == b"v"

    def test_the_time_is_foreseen(self, clock: Any, db: DB) -> None:
        db.put(b"brief", b"v", ttl=10)
        rotate(db)
        db.maintain()
        assert db._store.maintenance.due.seconds_left() == pytest.approx(10)
        clock.wait(10)
        db.maintain()
        assert db._store.maintenance.due.seconds_left() is None


class TestTiers:
    def test_neighbours_are_merged_as_they_come(self, open_: Open) -> None:
        db = open_()
        model = fill(db, keys=1500, size=50)
        db.maintain()
        assert len(db.stats().segments) < 1 + 2 * 8
        assert dict(db.scan()) == model
        assert {key: db.get(key) for key in model} == model
        assert db.verify().ok

    def test_garbage_is_swept(self, open_: Open) -> None:
        db = open_()
        fill(db, keys=100)
        rotate(db)
        db.maintain()
        model = fill(db, keys=90)
        rotate(db)
        report = db.maintain()
        assert report.swept + report.merged > 0
        left = [segment.keys for segment in db.stats().segments[1:]]
        assert sum(left) == 100
        assert {key: db.get(key) for key in model} == model
        assert db.verify().ok

    def test_the_index_of_what_is_swept_is_made_once(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For as many keys as live, though most of what is dead was written again in the same log."""
        db = open_(segment_bytes=2**20)
        for number in range(400):
            db.put(b"%d" % (number % 100), b"v" * (number % 300))
        rotate(db)
        for name in ("Output._make_room", "build_index"):
            monkeypatch.setattr(f"stratakv.maintenance.output.{name}", None)
        assert db.maintain().swept == 1
        assert [entry.keys for entry in entries(db)] == [100]

    def test_merging_makes_no_garbage(self, db: DB) -> None:
        """With one dead byte, it would be swept for nothing where the disk is too full for a merge."""
        for number in range(8):
            db.put(b"%d" % number, b"v")
            rotate(db)
        assert db.maintain().merged == 1
        assert [entry.dead for entry in entries(db)] == [0]

    def test_a_long_stretch_of_garbage_is_not_the_end(self, open_: Open) -> None:
        """Of a segment of many blocks, all but the last keys are hidden by newer ones."""
        db = open_(segment_bytes=8 * 2**20)
        model = fill(db, keys=1500, size=1200)
        rotate(db)
        db.maintain()
        for number in range(1490):
            model[b"%04d" % number] = b"newer"
            db.put(b"%04d" % number, b"newer")
        rotate(db)
        assert db.maintain().swept == 1
        assert {key: db.get(key) for key in model} == model
        assert [segment.keys for segment in db.stats().segments] == [0, 1490, 10]


def test_a_block_that_is_empty_is_not_the_end_of_its_source() -> None:
    def item(key: bytes) -> blocks.Item:
        return key, b"", 0, 0, 0, 0

    one: list[blocks.Block] = [[], [item(b"a")], [], [item(b"c")], []]
    other: list[blocks.Block] = [[], [], [item(b"b")]]
    found = [each[0] for block in blocks.merged([iter(one), iter(other)]) for each in block]
    assert found == [b"a", b"b", b"c"]


class TestAccounting:
    def test_disk_bytes_are_those_of_du(self, open_: Open, path: Path) -> None:
        db = open_(max_bytes=BUDGET)
        fill(db, keys=3000, size=300)
        db.maintain()
        assert db.stats().disk_bytes == used(path)

    def test_write_amplification(self, db: DB) -> None:
        fill(db, keys=1000)
        before = db.stats()
        assert before.rewritten_bytes == 0
        db.compact()
        after = db.stats()
        assert after.rewritten_bytes == pytest.approx(after.segments[1].log_bytes, rel=0.01)
        assert after.write_amplification is not None
        assert after.write_amplification >= 1 + after.rewritten_bytes / after.bytes_written

    def test_the_age_of_the_oldest_entry(self, clock: Any, db: DB) -> None:
        db.put(b"old", b"v")
        clock.wait(100)
        rotate(db)
        db.put(b"new", b"v")
        clock.wait(10)
        stats = db.stats()
        assert stats.age == pytest.approx(110)
        assert [segment.age for segment in stats.segments] == pytest.approx([10, 110])
        db.compact()
        assert db.stats().age == pytest.approx(110), "a merge makes nothing younger"


class TestDeath:
    """At any step of what maintenance does: what was acknowledged is there, and nothing is left over."""

    def churn(self, db: DB) -> dict[bytes, bytes]:
        model = fill(db, keys=250)
        for number in range(0, 250, 3):
            db.delete(b"%04d" % number)
            del model[b"%04d" % number]
        db.delete_prefix(b"001")
        model = {key: value for key, value in model.items() if not key.startswith(b"001")}
        model |= fill(db, keys=60)
        return model

    @pytest.mark.parametrize("then", ["fresh", "reboot", "no manifest"])
    def test_while_merging(self, tmp_path: Path, machine: Machine, then: str) -> None:
        reached = False
        for step in range(0, 300, 11):
            path = tmp_path / f"store{step}"
            db = stratakv.open(path, durability="os", segment_bytes=4096)
            model = self.churn(db)
            db.sync()
            machine.die_after(step)
            with suppress(Death):
                db.maintain()
                reached = True
            machine.bury(db)
            if then == "reboot":
                machine.reboot()
            elif then == "no manifest":
                (path / "MANIFEST").unlink()
                stratakv.recover(path)
            db = stratakv.open(path, durability="os", segment_bytes=4096)
            assert dict(db.scan()) == model, f"step {step}"
            assert {key: db.get(key) for key in model} == model, f"step {step}"
            assert db.verify().damage == (), f"step {step}"
            db.maintain()
            assert dict(db.scan()) == model, f"step {step}"
            self.nothing_is_left(db, path)
            db.close()
        assert reached, "the last of them was not interrupted"

    @pytest.mark.parametrize("then", ["fresh", "reboot", "no manifest"])
    def test_while_evicting(self, tmp_path: Path, machine: Machine, then: str) -> None:
        """Some may be gone, none may be of an older version."""
        for step in range(0, 240, 19):
            path = tmp_path / f"store{step}"
            db = stratakv.open(path, durability="os", max_bytes=2**18)
            versions: dict[bytes, bytes] = {}
            for number in range(700):
                key = b"%d" % (number * 7 % 300)
                versions[key] = b"%d" % number + bytes(400)
                db.put(key, versions[key])
                db.get(b"%d" % (number % 50))
                if number == 400:
                    db.maintain()
            db.sync()
            machine.die_after(step)
            with suppress(Death):
                db.maintain()
            machine.bury(db)
            if then == "reboot":
                machine.reboot()
            elif then == "no manifest":
                (path / "MANIFEST").unlink()
                stratakv.recover(path)
            db = stratakv.open(path, durability="os", max_bytes=2**18)
            for key, value in versions.items():
                assert db.get(key) in (None, value), f"step {step}"
            assert db.verify().damage == (), f"step {step}"
            db.maintain()
            for key, value in versions.items():
                assert db.get(key) in (None, value), f"step {step}"
            self.nothing_is_left(db, path)
            db.close()

    def nothing_is_left(self, db: DB, path: Path) -> None:
        live = {f"{segment.number:06d}" for segment in db.stats().segments}
        assert {file.stem for file in path.glob("*.log")} == live
        assert {file.stem for file in path.glob("*.idx")} == live
        assert not list(path.glob("*.tmp"))


def test_nothing_goes_for_what_a_power_cut_may_take(open_: Open, machine: Machine, path: Path) -> None:
    """A newer version that is not on disk yet hides an older one that is, and that is swept away."""
    db = open_(segment_bytes=2**16)
    model = fill(db, keys=100, size=300)
    rotate(db)
    db.sync()
    db.maintain()
    fill(db, keys=95, size=300)
    rotate(db)
    start = len(machine.steps)
    assert db.maintain().swept == 1
    steps = machine.steps[start:]
    installed = [n for n, (name, file) in enumerate(steps) if (name, file.name) == ("rename", "MANIFEST.tmp")]
    synced = [n for n, (name, file) in enumerate(steps) if name == "fdatasync" and file.suffix == ".log"]
    hiding = db.stats().segments[1].number
    assert any(steps[n][1].name == f"{hiding:06d}.log" and n < installed[-1] for n in synced)
    assert set(db.keys()) == set(model)


def test_nothing_is_swept_for_what_a_power_cut_may_take(db: DB, machine: Machine) -> None:
    """A segment that was sealed since the plan was made is not finished, and so not on disk."""
    db.put(b"k", b"old")
    rotate(db)
    db.sync()
    db.put(b"k", b"new")
    rotate(db)
    store, start = db._store, len(machine.steps)
    view = store.structure.current()
    tasks = Tasks(store.structure, store.committer, store.syncer.reach_tip, lambda _: None)
    tasks.sweep(view, [view.sealed[-1]])
    steps = [(name, file.name) for name, file in machine.steps[start:]]
    assert steps.index(("fdatasync", "000002.log")) < steps.index(("rename", "MANIFEST.tmp"))


def test_nothing_is_dropped_for_what_a_power_cut_may_take(db: DB, machine: Machine) -> None:
    """Where a log tears that lies before a range tombstone, that goes, too; what it deleted is back."""
    db.put(b"a", b"v")
    db.sync()
    rotate(db)
    db.maintain()
    db.put(b"b", b"v")
    rotate(db)
    db.delete_prefix(b"a")
    start = len(machine.steps)
    assert db.maintain().dropped == 1
    steps = [(name, file.name) for name, file in machine.steps[start:]]
    assert steps.index(("fdatasync", "000002.log")) < steps.index(("rename", "MANIFEST.tmp"))


def test_a_sync_that_fails_is_not_tried_again(db: DB, machine: Machine) -> None:
    fill(db, keys=30)
    rotate(db)
    number = db.stats().segments[1].number
    failed: list[Path] = []

    def refuse(name: str, file: Path) -> None:
        if name == "fdatasync" and file.name == f"{number:06d}.log":
            failed.append(file)
            raise OSError(5, "Input/output error")

    machine.refuse = refuse
    db.maintain()
    machine.refuse = lambda name, file: None
    db.maintain()
    assert len(failed) == 1
    (entry,) = entries(db)
    assert (entry.poisoned, entry.finished) == (True, True)
    assert entry.synced < entry.size
    with pytest.raises(stratakv.SyncError):
        db.sync()


def test_an_unfinished_log_says_nothing_about_the_others(open_: Open, machine: Machine, path: Path) -> None:
    """It was to raise the floor; it was never installed, and the manifest is lost."""
    db = open_(max_bytes=2**18, segment_bytes=2**26)
    for number in range(400):
        db.put(b"%d" % number, bytes(1000))
        db.get(b"%d" % number)
        if number < 200:
            db.maintain()
    found = {}
    for step in range(0, 60, 3):
        machine.die_after(step)
        with suppress(Death):
            db.maintain()
        machine.bury(db)
        found = {}
        db = open_(segment_bytes=2**26)
        found = dict(db.scan())
        db.close()
        (path / "MANIFEST").unlink()
        stratakv.recover(path)
        db = open_(segment_bytes=2**26, max_bytes=2**18)
        assert dict(db.scan()).items() >= found.items(), f"step {step}"


def test_a_watch_that_cannot_begin_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.undo()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with stratakv.open(path, durability="os", segment_bytes=4096) as db:
        model = fill(db, keys=100)
        assert dict(db.scan()) == model
    assert "nobody watches" in caplog.text


def test_a_stop_gives_up_the_task_at_hand(open_: Open, path: Path) -> None:
    db = open_(segment_bytes=2**20)
    model = fill(db, keys=20_000, size=500)

    def unnamed() -> set[int]:
        """The logs that are no segments: what a merge is writing."""
        view = db._store.structure.current()
        return set(db._store.directory.numbers("log")) - {s.number for s in view.segments()}

    assert db.maintain(linger=math.inf, stop=lambda: bool(unnamed())).merged == 0
    assert not unnamed()
    assert not list(path.glob("*.tmp"))
    assert dict(db.scan()) == model
    assert db.verify().ok
    assert db.maintain().merged == 1


def test_a_clear_meanwhile_wins(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    from stratakv.maintenance.output import Output

    fill(db, keys=1500)
    real = Output.finish

    def slow(output: Output) -> Any:
        db.clear()
        db.put(b"after", b"v")
        return real(output)

    monkeypatch.setattr(Output, "finish", slow)
    db.maintain()
    assert dict(db.scan()) == {b"after": b"v"}


def test_what_another_one_leaves_meanwhile_is_removed(
    db: DB, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches for weeks must not wait for the next one to start."""
    fill(db, keys=300)
    real, left = Tasks.do, path / "900000.log"

    def killed(tasks: Tasks, task: Any) -> None:
        monkeypatch.setattr(Tasks, "do", real)
        left.write_bytes(bytes(1000))
        real(tasks, task)

    monkeypatch.setattr(Tasks, "do", killed)
    db.maintain()
    assert not left.exists()


def test_an_index_that_is_replaced_meanwhile_is_finished_again(
    db: DB, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stratakv.build import build_index
    from stratakv.maintenance import finish
    from stratakv.segment_files import open_log

    fill(db, keys=20)
    rotate(db)
    real = finish._count

    def slow(segment: Any, *arguments: Any) -> Any:
        monkeypatch.setattr(finish, "_count", real)
        fresh = open_log(db._store.directory, segment.number, segment.entry, write=True)
        build_index(db._store.directory, fresh, ordered=False)
        return real(segment, *arguments)

    monkeypatch.setattr(finish, "_count", slow)
    db.maintain()
    (segment,) = db._store.structure.current().sealed
    assert len(segment.arrays.order) == 20


@pytest.mark.parametrize("kind", ["young", "finished", "main"])
@pytest.mark.parametrize("size", [100, 300])  # short records are read through the map
def test_damage_is_not_copied_on(db: DB, path: Path, kind: str, size: int) -> None:
    """In a value: all that shows it is the checksum, and of a finished or a merged log few are looked at."""
    fill(db, keys=60, size=size)
    if kind != "young":
        db.maintain() if kind == "finished" else db.compact()
    rotate(db)
    damaged = db.stats().segments[-1].number
    flip(path / f"{damaged:06d}.log", 72 + 32 + size + 40)
    db.put(b"more", b"v")
    with pytest.raises(stratakv.CorruptionError):
        db.compact()
    assert any(segment.number == damaged for segment in db.stats().segments)


def test_a_stop_is_no_damage_where_the_manifest_is_damaged(db: DB, path: Path) -> None:
    """What was given up is removed by the next one, and the segments are merged as before."""
    model = fill(db, keys=900)
    structure = db._store.structure

    def merging() -> bool:
        begun = set(structure.directory.numbers("log")) - structure.view.manifest.numbers()
        if begun:
            (path / "MANIFEST").write_bytes(b"damaged")
        return bool(begun)

    db.maintain(stop=merging)
    assert merging()
    db.put(b"more", bytes(4000))  # begins a segment, and so writes the manifest anew
    db.maintain()
    assert all(entry.finished for entry in entries(db))
    assert len(entries(db)) < 8
    assert set(structure.directory.numbers("log")) == structure.current().manifest.numbers()
    assert dict(db.scan()) == model | {b"more": bytes(4000)}


def test_damage_holds_up_nothing_else(db: DB, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(db, keys=900)
    damaged = db.stats().segments[-3].number
    flip(path / f"{damaged:06d}.log", 72 + 40)
    with pytest.raises(stratakv.CorruptionError, match=f"{damaged:06d}.log"):
        db.maintain()
    left = {entry.number: entry for entry in entries(db)}
    assert [number for number, entry in left.items() if not entry.finished] == [damaged]
    assert f"{damaged:06d}.log" in caplog.text
    db.maintain()  # it is not tried again
    assert db.verify(repair=True).ok
    db.maintain()  # now it is, in the process that knew it as damaged, too
    assert all(entry.finished for entry in entries(db))


def test_a_merge_goes_on_without_the_damaged_log_alone(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "000011.store"  # as the log of a sound segment is named
    with stratakv.open(path, maintenance="manual") as db:
        for number in range(11):
            db.put(b"%d" % number, b"value")
            rotate(db)
            if number == 6:
                db.maintain()  # so that the damage comes after each log was read for its index
        flip(path / "000002.log", 72 + 30)
        with pytest.raises(stratakv.CorruptionError, match=r"000002\.log"):
            db.maintain()
        assert [entry.number for entry in entries(db)[1:]] == [2, 1]


def test_a_damaged_range_tombstone_is_not_overlooked(db: DB, open_: Open, path: Path) -> None:
    db.put(b"a", b"v")
    db.delete_prefix(b"a")
    db.put(b"b", b"v")
    number = db.stats().segments[0].number
    db.close()
    flip(path / f"{number:06d}.log", 72 + 28)
    with pytest.raises(stratakv.CorruptionError):
        open_()


@pytest.mark.parametrize("without_manifest", [False, True])
def test_range_tombstones_survive_recovery(db: DB, open_: Open, path: Path, without_manifest: bool) -> None:
    db.put(b"a1", b"v")
    db.put(b"b1", b"v")
    db.delete_prefix(b"a")
    db.put(b"a2", b"v")
    db.delete_prefix(b"b")
    expected = {b"a2": b"v"}
    assert dict(db.scan()) == expected
    db.close()
    if without_manifest:
        (path / "MANIFEST").unlink()
    for file in [*path.glob("*.idx"), path / "CONTROL"]:
        file.unlink()
    stratakv.recover(path)
    db = open_()
    assert dict(db.scan()) == expected
    db.compact()
    assert dict(db.scan()) == expected


def test_the_watch_goes_on_after_an_error(
    db: DB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it was: the next segment must be looked after."""
    watch = Keeper(db._store.maintenance, db._store.directory, {})
    looks = []

    def fail_once() -> None:
        looks.append(1)
        watch._news.set()
        watch._ending = len(looks) == 2
        if len(looks) == 1:
            raise RuntimeError("whatever it was")

    monkeypatch.setattr(watch, "_see_to_it", fail_once)
    watch._news.set()
    watch._watch()
    assert len(looks) == 2
    assert "maintenance failed" in caplog.text


def test_maintenance_in_the_midst_of_maintenance_is_refused(open_: Open) -> None:
    """By a progress callback, or a signal handler: it would wait for itself."""
    db = open_(maintenance="manual")
    for number in range(100):
        db.put(b"%d" % number, bytes(100))

    def again(done: int, total: int) -> None:
        db.maintain()

    with pytest.raises(stratakv.StoreBusyError, match="this very thread"):
        db.compact(again)
    db.compact()
