"""Compaction: what it keeps, what it drops, and what a crash inside it costs, which is nothing."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.locks import FileLock
from stratakv.maintenance.blocks import in_key_order
from stratakv.maintenance.output import Output
from tests.engine.machine import Death, Machine, in_time

Open = Callable[..., DB]


def logs(path: Path) -> int:
    return len(list(path.glob("*.log")))


def rotate(db: DB) -> None:
    """Seal what is there: the next segment begins with a filler that nobody asks for."""
    db.put(b"~filler", os.urandom(4000))


def test_one_segment_with_each_live_key_once(db: DB, path: Path, clock: Any) -> None:
    for number in range(900):
        db.put(b"%d" % (number % 300), b"v%d" % number)
    for number in range(0, 300, 2):
        db.delete(b"%d" % number)
    db.put(b"short", b"v", ttl=5)
    clock.wait(5)
    told: list[tuple[int, int]] = []
    report = db.compact(lambda done, total: told.append((done, total)))
    assert (report.segments_after, report.records) == (1, 150)
    assert report.bytes_after < report.bytes_before
    assert logs(path) == 2
    assert dict(db.scan()) == {b"%d" % number: b"v%d" % (number + 600) for number in range(1, 300, 2)}
    assert list(db.keys()) == sorted(db.keys()), "a compacted segment is in key order"
    assert db.verify().ok


def test_nothing_to_do(db: DB) -> None:
    assert db.compact().records == 0
    db.put(b"k", b"v")
    assert db.compact().segments_after == 1
    before = db.stats().segments[1].number
    assert db.compact().records == 1
    assert db.stats().segments[1].number == before, "what is compact already is not written again"


def test_nothing_left(db: DB, path: Path) -> None:
    db.put(b"k", b"v")
    rotate(db)
    db.delete(b"k")
    db.delete(b"~filler")
    report = db.compact()
    assert (report.segments_after, report.bytes_after, report.records) == (0, 0, 0)
    assert logs(path) == 1
    assert list(db.scan()) == []
    db.put(b"k", b"w")
    assert dict(db.scan()) == {b"k": b"w"}


ACTIONS: dict[str, Callable[[DB], object]] = {
    "old": lambda db: db.put(b"k", b"old"),
    "new": lambda db: db.put(b"k", b"new"),
    "brief": lambda db: db.put(b"k", b"brief", ttl=1),
    "delete": lambda db: db.delete(b"k"),
}


@pytest.mark.parametrize("names", list(itertools.product(ACTIONS, repeat=3)), ids="-".join)
@pytest.mark.parametrize("merge_after", [0, 1, 2])
def test_deleted_and_expired_hide_older_versions(
    open_: Open, clock: Any, names: tuple[str, ...], merge_after: int
) -> None:
    """Each version in a segment of its own; merged after the first, the second or the last of them."""
    db = open_()
    value = None
    for place, name in enumerate(names):
        ACTIONS[name](db)
        value = None if name == "delete" else name.encode()
        assert db.get(b"k") == value
        rotate(db)
        if place == merge_after:
            db.compact()
            assert db.get(b"k") == value
    clock.wait(1)
    expected = None if value == b"brief" else value
    assert db.get(b"k") == expected
    db.compact()
    clock.wait(-1)  # a merge that dropped the newest version alone would show now
    assert db.get(b"k") == expected


def fill(db: DB) -> dict[bytes, bytes]:
    model = {}
    for number in range(400):
        key = b"%d" % (number % 250)
        if number % 7 == 6:
            db.delete(key)
            model.pop(key, None)
        else:
            db.put(key, b"v%d" % number)
            model[key] = b"v%d" % number
    return model


@pytest.mark.parametrize("expiring", [0, 1, 2])
def test_a_segment_goes_as_a_whole_only_where_all_of_it_expires(db: DB, clock: Any, expiring: int) -> None:
    for number in range(2):
        db.put(b"%d" % number, b"v", ttl=5 if number < expiring else None)
    db.compact()
    clock.wait(6)
    left = {b"%d" % number: b"v" for number in range(expiring, 2)}
    db.maintain()
    assert dict(db.scan()) == left
    assert len(db._store.structure.view.sealed) == (expiring < 2)


class TestCrash:
    STEPS = 60  # more than a compaction has

    def test_there_are_fewer_steps_than_are_tried(self, db: DB, machine: Machine) -> None:
        fill(db)
        before = len(machine.steps)
        db.compact()
        assert 20 < len(machine.steps) - before < self.STEPS

    @pytest.mark.parametrize("then", ["same", "fresh", "reboot", "no manifest"])
    def test_at_each_step(self, tmp_path: Path, machine: Machine, then: str) -> None:
        for step in range(self.STEPS):
            path = tmp_path / f"store{step}"
            db = stratakv.open(path, durability="os", segment_bytes=4096)
            model = fill(db)
            db.sync()
            machine.die_after(step)
            with suppress(Death):
                db.compact()
            if then == "same":
                machine.dead, machine.die_at = False, None
            else:
                machine.bury(db)
                if then == "no manifest":
                    (path / "MANIFEST").unlink()
                    stratakv.recover(path)
                elif then == "reboot":
                    machine.reboot()
                db = stratakv.open(path, durability="os", segment_bytes=4096)
            assert dict(db.scan()) == model, f"step {step}"
            assert {key: db.get(key) for key in model} == model, f"step {step}"
            db.put(b"k", b"v")
            assert db.verify().damage == (), f"step {step}"
            db.compact()
            assert dict(db.scan()) == model | {b"k": b"v"}, f"step {step}"
            db.close()
            stratakv.open(path, durability="os", segment_bytes=4096).close()
            live = {f"{segment.number:06d}" for segment in self.segments(path)}
            assert {file.stem for file in path.glob("*.log")} == live, f"step {step}"
            assert {file.stem for file in path.glob("*.idx")} == live, f"step {step}"
            assert not list(path.glob("*.tmp")), f"step {step}"

    def segments(self, path: Path) -> Any:
        with stratakv.open(path, durability="os", segment_bytes=4096) as db:
            return db.stats().segments

    @pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
    def test_failure_after_the_manifest_is_there(
        self, db: DB, machine: Machine, open_: Open, error: BaseException
    ) -> None:
        """The manifest on disk names the merged segment: it must not be taken for an unfinished one."""
        model = fill(db)
        start = len(machine.steps)

        def refuse(name: str, path: Path) -> None:
            before = [(name, path.name) for name, path in machine.steps[start:-1]]
            installed = before.count(("rename", "MANIFEST.tmp"))
            if name == "sync_directory" and installed == 2 and before[-1] == ("rename", "MANIFEST.tmp"):
                raise error

        machine.refuse = refuse
        with pytest.raises(type(error) if isinstance(error, KeyboardInterrupt) else stratakv.StorageError):
            db.compact()
        machine.refuse = lambda name, path: None
        assert dict(db.scan()) == model
        db.put(b"k", b"v")
        assert dict(db.scan()) == model | {b"k": b"v"}
        db.close()
        assert dict(open_().scan()) == model | {b"k": b"v"}


def test_progress_is_of_what_is_read(db: DB) -> None:
    """Most of it is not written again."""
    for number in range(4000):
        db.put(b"%d" % (number % 100), bytes(100))
    told: list[tuple[int, int]] = []
    report = db.compact(lambda done, total: told.append((done, total)))
    assert report.bytes_after < report.bytes_before / 10
    assert told[-1] == (pytest.approx(report.bytes_before, rel=0.01), report.bytes_before)


def test_giving_up_while_another_one_is_at_it(db: DB) -> None:
    def stop(done: int, total: int) -> None:
        assert 0 == done < total
        raise KeyboardInterrupt

    fill(db)
    with FileLock(db._store.directory, "maintenance.lock", write=True) as lock:
        lock.exclusive()
        with in_time(), pytest.raises(KeyboardInterrupt):
            db.compact(stop)
    db.compact()


def test_giving_up_through_the_progress_callback(db: DB, path: Path) -> None:
    model = {}
    for number in range(40):
        model[b"%d" % number] = os.urandom(100_000)
        db.put(b"%d" % number, model[b"%d" % number])

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = logs(path)
    with pytest.raises(KeyboardInterrupt):
        db.compact(stop)
    assert logs(path) <= before + 1
    assert dict(db.scan()) == model


CALLS: dict[str, Callable[[DB, Path, Callable[..., bool]], object]] = {
    "compact": lambda db, path, told: db.compact(told),
    "maintain": lambda db, path, told: db.maintain(stop=told),
    "verify": lambda db, path, told: db.verify(told),
    "repair": lambda db, path, told: db.verify(told, repair=True),
    "backup": lambda db, path, told: db.backup(path / "copy", told),
    "recover": lambda db, path, told: (db.close(), stratakv.recover(db.path, progress=told)),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_callback_raises_is_not_about_the_store(db: DB, tmp_path: Path, name: str) -> None:
    """A terminal that has gone, or standard output that is full, is neither its disk nor its files."""
    fill(db)
    rotate(db)
    full = OSError(errno.ENOSPC, "No space left on device")

    def told(*_: int) -> bool:
        raise full

    with pytest.raises(OSError, match="No space left") as caught:
        CALLS[name](db, tmp_path, told)
    assert caught.value is full


@pytest.mark.parametrize("steps", range(40))
def test_what_is_left_without_a_manifest_where_nothing_is_left(
    db: DB, open_: Callable[..., DB], machine: Machine, path: Path, steps: int
) -> None:
    """Files that go one by one must not uncover what was deleted, if the process dies between two."""
    db.put(b"k", b"v")
    rotate(db)
    db.delete_many([b"k", b"~filler"])
    machine.die_after(steps)
    with suppress(Death):
        db.compact()
    machine.bury(db)
    for file in [*path.glob("MANIFEST*"), *path.glob("*.idx"), path / "CONTROL"]:
        file.unlink(missing_ok=True)
    stratakv.recover(path)
    assert not dict(open_().scan())


def test_the_manifest_is_durable_before_files_go(db: DB, machine: Machine) -> None:
    """In this order: the merged log, its index, the directory, the manifest; only then the inputs go."""
    fill(db)
    inputs = {db._store.directory.log_path(segment.number) for segment in db.stats().segments}
    start = len(machine.steps)
    db.compact()
    steps = machine.steps[start:]
    removed = [place for place, (name, subject) in enumerate(steps) if name == "unlink" and subject in inputs]
    renamed = [
        place
        for place, (name, subject) in enumerate(steps)
        if name == "rename" and subject.name == "MANIFEST.tmp"
    ]
    assert len(removed) == len(inputs)
    assert [name for name, _ in steps[renamed[-1] - 1 : renamed[-1] + 2]] == [
        "fdatasync",
        "rename",
        "sync_directory",
    ]
    assert renamed[-1] + 1 < removed[0]
    before = [name for name, _ in steps[: renamed[-1]]]
    assert before.count("fdatasync") >= 3, "the log, the index, and the manifest itself"


def test_what_the_manifest_names_is_on_disk_with_its_name(db: DB, machine: Machine, path: Path) -> None:
    """The index, too, where all keys are different and it is as large as was thought."""
    for number in range(50):
        db.put(b"%d" % number, b"v")
    start = len(machine.steps)
    db.compact()
    merged = db.stats().segments[1].number
    steps = [(name, subject.name) for name, subject in machine.steps[start:]]
    installed = max(n for n, step in enumerate(steps) if step == ("rename", "MANIFEST.tmp"))
    log, index = (steps.index(("fdatasync", f"{merged:06d}.{suffix}")) for suffix in ("log", "idx"))
    assert ("sync_directory", path.name) in steps[max(log, index) : installed]


def test_a_clear_meanwhile_wins(db: DB, monkeypatch: Any, path: Path) -> None:
    fill(db)
    real = Output.finish

    def slow(output: Output) -> Any:
        db.clear()
        db.put(b"after", b"v")
        return real(output)

    monkeypatch.setattr(Output, "finish", slow)
    db.compact()
    assert dict(db.scan()) == {b"after": b"v"}
    assert logs(path) == 1


def test_writes_meanwhile_are_newer(db: DB, monkeypatch: Any) -> None:
    model = fill(db)
    real = Output.finish

    def slow(output: Output) -> Any:
        for number in range(300):
            db.put(b"%d" % number, b"newer")
        db.delete(b"1")
        return real(output)

    monkeypatch.setattr(Output, "finish", slow)
    db.compact()
    expected = model | {b"%d" % number: b"newer" for number in range(300)}
    del expected[b"1"]
    assert dict(db.scan()) == expected
    db.compact()
    assert dict(db.scan()) == expected
    assert db.verify().ok


def test_a_merge_holds_few_of_the_long_records_among_short_ones(open_: Open) -> None:
    with open_(segment_bytes=2**23) as db:
        short = {b"short %05d" % n: b"" for n in range(20_000)}
        db.put_many({**short, **{b"long %02d" % n: bytes(60_000) for n in range(64)}})
        with db._store.committer.hold() as held:
            db._store.structure.rotate(held)
        (segment,) = db._store.structure.view.sealed
        for block in in_key_order(segment):
            assert sum(len(item[1]) for item in block) < 2**20


@pytest.mark.parametrize(
    "sizes", [(0, 1, 100, 65_000, 70_000, 3, 200_000, 65_536) * 8, (*range(70), 80_000) * 14]
)
def test_values_of_all_lengths_are_moved_as_they_are(open_: Open, sizes: tuple[int, ...]) -> None:
    """Short records are copied as they are read, long ones stay in the log until they are written."""
    with open_(segment_bytes=300_000) as db:
        model = {b"%03d" % n: bytes([n % 256]) * size for n, size in enumerate(sizes)}
        for key in sorted(model, key=lambda key: key[::-1]):  # logs that are not in key order
            db.put(key, model[key])
        assert len(db.stats().segments) > 3
        for _ in range(2):  # of logs in order of arrival, then of one in key order
            db.compact()
            assert dict(db.scan()) == model
            assert db.verify().ok
            db.put(b"001", model[b"001"])
