"""What every operation promises, on one store in one process."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from mmap import mmap
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stratakv
from stratakv import DB, ClosedError, InvalidValueError, KeyNotFoundError, ReadOnlyError, reader
from tests.engine.machine import descriptors_open, flip

VALUES = [b"", b"\0", b"\0" * 1000, bytes(range(256)), b"x" * 10_000]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)}")
def test_a_value_comes_back_as_it_was(db: DB, value: bytes) -> None:
    db.put(b"k", value)
    assert db.get(b"k") == value
    assert type(db.get(b"k")) is bytes
    assert b"k" in db


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_values_are_copied(db: DB, kind: Callable[[Any], Any]) -> None:
    source = bytearray(b"value")
    db.put(b"k", kind(source))
    db.put_many({b"many": kind(source)})
    source[0] = 0
    assert db.get_many([b"k", b"many"]) == {b"k": b"value", b"many": b"value"}


def test_a_memoryview_is_stored_by_its_bytes(db: DB) -> None:
    db.put(b"wide", memoryview(b"abcdefgh").cast("I"))
    db.put(b"steps", memoryview(b"abcdef")[::2])
    assert (db.get(b"wide"), db.get(b"steps")) == (b"abcdefgh", b"ace")


@pytest.mark.parametrize("key", [b"\0", b"k" * 65_535, b"\xff\xfe", bytes(range(256))], ids=len)
def test_keys_are_any_bytes(db: DB, key: bytes) -> None:
    db.put(key, b"v")
    assert db.get(key) == b"v"
    assert list(db.keys()) == [key]
    assert list(db.scan()) == [(key, b"v")]
    assert db.delete(key)
    assert db.get(key) is None


def test_a_missing_key_is_the_default(db: DB) -> None:
    assert db.get(b"k") is None
    assert db.get(b"k", b"other") == b"other"
    assert b"k" not in db


def test_the_last_put_counts(db: DB) -> None:
    for number in range(500):
        db.put(b"k", b"%d" % number)
    assert db.get(b"k") == b"499"
    assert len(db.stats().segments) > 1, "the versions lie in several segments"


def test_delete_tells_whether_there_was_something(db: DB) -> None:
    db.put(b"k", b"v")
    assert db.delete(b"k") is True
    assert db.delete(b"k") is False
    assert db.get(b"k") is None
    db.put(b"k", b"again")
    assert db.get(b"k") == b"again"


def test_add_sets_only_what_is_missing(db: DB, clock: Any) -> None:
    assert db.add(b"k", b"1", ttl=10) is True
    assert db.add(b"k", b"2") is False
    assert db.get(b"k") == b"1"
    clock.wait(10)
    assert db.add(b"k", b"3") is True, "expired counts as missing"
    db.delete(b"k")
    assert db.add(b"k", b"4") is True
    assert db.get(b"k") == b"4"


class TestExpiry:
    def test_a_value_is_there_until_its_time(self, db: DB, clock: Any) -> None:
        db.put(b"k", b"v", ttl=1.5)
        clock.wait(1.499)
        assert db.get(b"k") == b"v"
        clock.wait(0.001)
        assert db.get(b"k") is None
        assert b"k" not in db
        assert db.get_many([b"k"]) == {}
        assert list(db.keys()) == list(db.scan()) == []
        assert db.delete(b"k") is False

    def test_zero_is_at_once_and_none_is_never(self, db: DB, clock: Any) -> None:
        db.put(b"never", b"v")
        db.put(b"k", b"v")
        db.put(b"k", b"w", ttl=0)
        clock.wait(10**9)
        assert db.get(b"k") is None, "and it hides what was there before"
        assert db.get(b"never") == b"v"

    def test_ttl(self, db: DB, clock: Any) -> None:
        db.put(b"k", b"v", ttl=60)
        db.put(b"never", b"v")
        clock.wait(20)
        assert db.ttl(b"k") == pytest.approx(40)
        assert db.ttl(b"never") is None
        clock.wait(40)
        with pytest.raises(KeyNotFoundError):
            db.ttl(b"k")
        with pytest.raises(KeyError):
            db.ttl(b"absent")

    def test_touch(self, db: DB, clock: Any) -> None:
        db.put(b"k", b"v", ttl=10)
        assert db.touch(b"k", 100) is True
        clock.wait(50)
        assert (db.get(b"k"), db.ttl(b"k")) == (b"v", pytest.approx(50))
        assert db.touch(b"k", None) is True
        assert db.ttl(b"k") is None
        assert db.touch(b"k", 0) is True
        assert db.get(b"k") is None
        assert db.touch(b"k", 5) is False
        assert db.touch(b"absent", 5) is False

    def test_a_plain_put_forgets_the_ttl(self, db: DB, clock: Any) -> None:
        db.put(b"k", b"v", ttl=1)
        db.put(b"k", b"w")
        clock.wait(5)
        assert db.get(b"k") == b"w"

    def test_put_many_gives_all_the_same(self, db: DB, clock: Any) -> None:
        db.put_many({b"a": b"1", b"b": b"2"}, ttl=5)
        assert [db.ttl(b"a"), db.ttl(b"b")] == [pytest.approx(5)] * 2
        clock.wait(5)
        assert db.get_many([b"a", b"b"]) == {}


class TestIncr:
    def test_it_counts(self, db: DB) -> None:
        assert db.incr(b"n") == 1
        assert db.incr(b"n", 41) == 42
        assert db.incr(b"n", -50) == -8
        assert db.get(b"n") == b"-8"
        assert db.incr(b"n", 10**30) == 10**30 - 8

    def test_the_ttl_stays(self, db: DB, clock: Any) -> None:
        db.put(b"n", b"1", ttl=10)
        clock.wait(4)
        db.incr(b"n")
        assert db.ttl(b"n") == pytest.approx(6)
        clock.wait(6)
        assert db.incr(b"n") == 1, "expired counts as missing"
        assert db.ttl(b"n") is None

    @pytest.mark.parametrize(
        "value", [b"", b"one", b"1.5", b"\xff", b"1_0", b" 1", b"1\n", "\u0661".encode()]
    )
    def test_what_is_no_number_stays(self, db: DB, value: bytes) -> None:
        db.put(b"n", value)
        with pytest.raises(InvalidValueError, match="whole number"):
            db.incr(b"n")
        assert db.get(b"n") == value
        db.put(b"other", b"the store goes on")

    def test_a_sum_that_is_too_long_to_be_written_out(self, db: DB) -> None:
        db.put(b"n", b"9" * 4300)
        with pytest.raises(InvalidValueError, match="too large"):
            db.incr(b"n")
        assert db.get(b"n") == b"9" * 4300


class TestMany:
    def test_get_many_returns_what_is_there(self, db: DB) -> None:
        db.put_many({b"%d" % number: b"v%d" % number for number in range(300)})
        found = db.get_many(b"%d" % number for number in range(0, 600, 2))
        assert found == {b"%d" % number: b"v%d" % number for number in range(0, 300, 2)}

    @pytest.mark.parametrize("sealed", [False, True])
    def test_get_many_shows_one_moment(self, db: DB, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
        """A batch that is written between the lookups is seen whole, or not at all."""
        old, new = {b"a": b"old", b"b": b"old"}, {b"a": b"new", b"b": b"new"}
        db.put_many(old)
        real, writes = reader.probe, iter([new])

        def probe(*arguments: Any) -> Any:
            hit = real(*arguments)
            for batch in writes:
                if sealed:
                    db.put(b"large", b"v" * 5000)
                db.put_many(batch)
            return hit

        monkeypatch.setattr(reader, "probe", probe)
        assert db.get_many([b"a", b"b"]) in (old, new)
        assert db.get_many([b"a", b"b"]) == new

    def test_delete_many_counts_what_was_there(self, db: DB) -> None:
        db.put_many({b"a": b"1", b"b": b"2", b"c": b"3"})
        assert db.delete_many([b"a", b"b", b"a", b"absent"]) == 2
        assert dict(db.scan()) == {b"c": b"3"}
        assert db.delete_many([]) == 0

    def test_delete_prefix(self, db: DB) -> None:
        db.put_many({b"a/%d" % number: b"v" for number in range(200)})
        db.put_many({b"a": b"v", b"b/1": b"v", b"a0": b"v"})
        db.delete_prefix(b"a/")
        assert sorted(db.keys()) == [b"a", b"a0", b"b/1"]
        db.delete_prefix(b"a/")
        db.delete_prefix(b"absent")
        assert sorted(db.keys()) == [b"a", b"a0", b"b/1"]
        db.delete_prefix(b"")
        assert list(db.keys()) == []

    def test_a_prefix_of_which_nothing_is_left_costs_nothing(self, db: DB) -> None:
        number = db.stats().segments[0].number
        db.delete_prefix(b"a")
        assert db.stats().segments[0].number == number, "nothing was ever written"
        db.put_many({b"a/1": b"v", b"b": b"v"})
        db.compact()
        db.delete_prefix(b"a")
        number = db.stats().segments[0].number
        db.delete_prefix(b"a")
        db.delete_prefix(b"a/")
        assert db.stats().segments[0].number == number
        db.delete_prefix(b"b")
        assert db.stats().segments[0].number > number
        assert list(db.keys()) == []
        db.put(b"b", b"v")
        db.delete_prefix(b"b")
        assert list(db.keys()) == []

    def test_a_prefix_that_all_keys_have_takes_the_segments_along(self, db: DB, path: Path) -> None:
        for number in range(300):
            db.put(b"a/%d" % number, b"v")
        db.compact()
        db.put(b"a/1", b"w")
        db.delete_prefix(b"a/")
        assert list(db.keys()) == []
        db.maintain()
        assert len(list(path.glob("*.log"))) == 1

    def test_its_space_is_given_back_each_time(self, db: DB, path: Path) -> None:
        """Also by a segment that begins with a range tombstone, once a younger one covers what it deletes."""
        db.put_many({b"a/0": b"old", b"b/0": b"kept"})
        db.compact()
        for turn in range(4):
            db.put_many({b"a/%d" % number: b"v" * 100 for number in range(50)})
            db.delete_prefix(b"a/" if turn else b"a/0")
            db.maintain()
            assert b"a/0" not in db
        assert sum(file.stat().st_size for file in path.glob("*.log")) < 5000
        assert dict(db.scan()) == {b"b/0": b"kept"}

    def test_a_prefix_is_deleted_by_one_record_whatever_its_size(self, db: DB) -> None:
        for number in range(1000):
            db.put(b"a/%d" % number, b"v" * 100)
        before = db.stats()
        db.delete_prefix(b"a/")
        after = db.stats()
        assert after.segments[0].log_bytes == 72 + 28 + 2
        sizes = [[(each.number, each.log_bytes) for each in stats.segments] for stats in (before, after)]
        assert sizes[1][1:] == sizes[0][1:], "a record in a log of its own, for one of which nothing is left"

    def test_deleting_a_prefix_again_and_again_leaves_one_segment(
        self, db: DB, open_: Callable[..., DB]
    ) -> None:
        db.put(b"a", b"v")
        for _ in range(20):
            db.delete_prefix(b"a")
            db.delete_prefix(b"ab")
            db.delete_prefix(b"b")
        assert len(db.stats().segments) == 1
        db.close()
        db = open_()
        assert list(db.keys()) == []
        db.put(b"a", b"new")
        db.put(b"b", b"new")
        assert dict(db.scan()) == {b"a": b"new", b"b": b"new"}

    def test_nothing_to_write_writes_nothing(self, db: DB) -> None:
        before = db.stats().bytes_written
        db.put_many({})
        with db.transaction():
            pass
        assert db.stats().bytes_written == before

    def test_a_batch_larger_than_a_segment(self, db: DB) -> None:
        batch = {b"%05d" % number: b"v" * 50 for number in range(2000)}
        db.put_many(batch)
        assert dict(db.scan()) == batch
        db.put(b"after", b"v")
        assert db.verify().ok

    def test_a_batch_of_more_records_than_an_index_is_made_for(self, open_: Any) -> None:
        db = open_(segment_bytes=2**20)
        batch = {b"%d" % number: b"" for number in range(70_000)}
        db.put_many(batch)
        db.put(b"after", b"v")
        assert db.get_many([b"0", b"69999", b"after"]) == {b"0": b"", b"69999": b"", b"after": b"v"}
        assert len(list(db.keys())) == 70_001

    def test_a_value_larger_than_a_segment(self, db: DB) -> None:
        db.put(b"before", b"v")
        db.put(b"large", b"x" * 100_000)
        db.put(b"after", b"v")
        assert db.get(b"large") == b"x" * 100_000
        assert db.get_many([b"before", b"after"]) == {b"before": b"v", b"after": b"v"}

    def test_an_index_that_is_full_starts_a_segment(self, db: DB) -> None:
        """A segment of 4 KiB is made for 129 keys, and its log has room for 140 of these."""
        for number in range(140):
            db.put(bytes([number + 1]), b"")
        assert len(db.stats().segments) == 2
        assert len(list(db.keys())) == 140


def test_without_the_gil_threads_share_no_view(
    open_: Callable[..., DB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memoryview is closed in use if threads slice it: see `test_threads_do_everything_at_once`."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    db = open_(maintenance="manual")
    expected = {b"%d" % number: b"%d" % number * 1000 for number in range(50)}
    for key, value in expected.items():
        db.put(key, b"old")
        db.put(key, value)
    for _ in range(2):
        assert dict(db.scan()) == db.get_many(expected) == expected
        assert {key: db.get(key) for key in expected} == expected
        assert not db.verify(repair=True).damage
        assert all(type(segment.view) is mmap for segment in db._store.structure.current().segments())
        db.compact()


def test_keys_come_once_and_oldest_first(db: DB) -> None:
    for number in range(400):
        db.put(b"%d" % (number % 250), b"v%d" % number)
    db.delete(b"200")
    keys = list(db.keys())
    assert keys == [b"%d" % number for number in (*range(150, 250), *range(150)) if number != 200]
    assert list(db.keys(b"24")) == [
        b"240",
        b"241",
        b"242",
        b"243",
        b"244",
        b"245",
        b"246",
        b"247",
        b"248",
        b"249",
        b"24",
    ]


def test_keys_while_they_are_rewritten(db: DB) -> None:
    for number in range(300):
        db.put(b"%d" % number, b"v")
    seen = []
    for key in db.keys(b""):
        seen.append(key)
        db.put(key, b"again")
        db.put(b"299", b"again")
    assert sorted(seen) == sorted(set(seen))
    assert set(seen) == {b"%d" % number for number in range(300)}


class TestClear:
    def test_nothing_is_left(self, db: DB, path: Path) -> None:
        for number in range(500):
            db.put(b"%d" % number, b"v" * 20)
        db.clear()
        assert db.get(b"3") is None
        assert list(db.keys()) == list(db.scan()) == []
        assert len(list(path.glob("*.log"))) == len(list(path.glob("*.idx"))) == 1
        db.put(b"3", b"new")
        assert dict(db.scan()) == {b"3": b"new"}

    def test_it_stays_cleared(self, db: DB, open_: Any) -> None:
        db.put(b"k", b"v")
        db.clear()
        db.close()
        with open_() as db:
            assert list(db.keys()) == []


class TestStats:
    def test_what_another_one_does_shows_while_it_goes_on(self, db: DB, open_: Callable[..., DB]) -> None:
        """Without a segment that begins, too."""
        db.close()
        db = open_(segment_bytes=2**24)
        with open_(read_only=True) as reader:
            for number in range(200):
                db.put(b"%d" % number, bytes(1000))
            assert 100 < reader.stats().records_written <= 200
            db.put_many({b"a": b"", b"b": b""})
            db.put_many({b"a": b"", b"b": b""})
            assert reader.stats().records_written >= 202

    def test_figures(self, db: DB, path: Path) -> None:
        db.put(b"a", b"v" * 100)
        db.get(b"a")
        db.get(b"a")
        db.get(b"absent")
        stats = db.stats()
        assert (stats.hits, stats.misses, stats.hit_ratio) == (2, 1, pytest.approx(2 / 3))
        assert (stats.keys, stats.records_written, stats.damaged_reads) == (1, 1, 0)
        assert stats.log_bytes == 72 + 28 + 1 + 100
        assert stats.path == str(path)
        assert stats.segments[0].kind == "active"
        assert json.loads(json.dumps(asdict(stats)))["keys"] == 1

    def test_bytes_on_disk_are_those_of_the_files(self, db: DB, path: Path) -> None:
        db.put(b"k", b"v" * 50_000)
        assert db.stats().disk_bytes == sum(file.stat().st_blocks * 512 for file in path.iterdir())

    def test_unsynced(self, db: DB) -> None:
        db.put(b"k", b"v")
        assert db.stats().unsynced_bytes > 0
        db.sync()
        assert db.stats().unsynced_bytes == 0

    def test_bytes_written_never_shrink(self, db: DB) -> None:
        db.put(b"k", b"v" * 1000)
        before = db.stats().bytes_written
        db.clear()
        assert db.stats().bytes_written >= before


class TestBackup:
    def test_the_copy_is_a_store_of_its_own(self, db: DB, path: Path, tmp_path: Path) -> None:
        for number in range(500):
            db.put(b"%d" % (number % 300), b"v%d" % number)
        db.delete(b"7")
        db.compact()
        db.put(b"after", b"compaction")
        expected = dict(db.scan())
        told: list[tuple[int, int]] = []
        report = db.backup(tmp_path / "copy", lambda done, total: told.append((done, total)))
        db.put(b"later", b"v")
        assert told[-1] == (report.log_bytes, report.log_bytes)
        with stratakv.open(tmp_path / "copy", durability="os") as copy:
            assert dict(copy.scan()) == expected
            assert copy.verify().ok
            copy.put(b"own", b"v")
        assert db.get(b"own") is None
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700

    def test_an_empty_store(self, db: DB, tmp_path: Path) -> None:
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            assert list(copy.keys()) == []

    def test_a_directory_with_something_in_it_is_left_alone(self, db: DB, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "letter.txt").write_text("mine")
        (tmp_path / "link").symlink_to(db.path)
        with pytest.raises(stratakv.DirectoryError, match="not empty"):
            db.backup(tmp_path / "full")
        for inside in (db.path, db.path / "copy", tmp_path / "link" / "copy"):
            with pytest.raises(stratakv.DirectoryError, match="inside the store"):
                db.backup(inside)
        assert not (db.path / "copy").exists()
        assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["letter.txt"]

    def test_one_that_is_given_up_can_be_made_again(self, db: DB, tmp_path: Path) -> None:
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        db.put(b"k", b"v")
        with pytest.raises(KeyboardInterrupt):
            db.backup(tmp_path / "copy", stop)
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            assert copy.get(b"k") == b"v"

    @pytest.mark.parametrize("compacted", [True, False])
    @pytest.mark.parametrize("part", ["header", "first record", "last record"])
    def test_no_copy_is_made_of_what_would_not_open(
        self, db: DB, tmp_path: Path, part: str, compacted: bool
    ) -> None:
        for number in range(20):
            db.put(b"%d" % number, b"v" * 20)
        if compacted:
            db.compact()
        view = db._store.structure.current()
        segment = view.sealed[0] if compacted else view.active
        end = segment.end if compacted else segment.filled()[0]
        offsets = [found.offset for found in segment.records(end)]
        damaged = {"header": 30, "first record": offsets[0] + 10, "last record": offsets[-1] + 10}
        flip(segment.path, damaged[part])
        with pytest.raises(stratakv.CorruptionError, match=f"verify --repair {db.path}"):
            db.backup(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        flip(segment.path, damaged[part])
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            assert len(dict(copy.scan())) == 20


class TestVerify:
    def test_a_sound_store(self, db: DB) -> None:
        for number in range(500):
            db.put(b"%d" % number, b"v")
        db.compact()
        db.put(b"k", b"v")
        told: list[tuple[int, int]] = []
        report = db.verify(lambda done, total: told.append((done, total)))
        assert report.ok
        assert report.damage == ()
        assert report.records == 501, "500 of the compacted log, and one; its END is no record of the user's"
        assert told[-1] == (report.log_bytes, report.log_bytes)


READS: dict[str, Callable[[DB], object]] = {
    "get": lambda db: db.get(b"k"),
    "in": lambda db: b"k" in db,
    "ttl": lambda db: db.ttl(b"k"),
    "get_many": lambda db: db.get_many([b"k"]),
    "keys": lambda db: db.keys(),
    "scan": lambda db: db.scan(),
    "sync": lambda db: db.sync(),
    "stats": lambda db: db.stats(),
    "verify": lambda db: db.verify(),
    "backup": lambda db: db.backup("copy"),
}
WRITES: dict[str, Callable[[DB], object]] = {
    "put": lambda db: db.put(b"k", b"v"),
    "delete": lambda db: db.delete(b"k"),
    "add": lambda db: db.add(b"k", b"v"),
    "touch": lambda db: db.touch(b"k", 1),
    "incr": lambda db: db.incr(b"k"),
    "update": lambda db: db.update(b"k", bytes),
    "put_many": lambda db: db.put_many({b"k": b"v"}),
    "delete_many": lambda db: db.delete_many([b"k"]),
    "delete_prefix": lambda db: db.delete_prefix(b"k"),
    "transaction": lambda db: db.transaction(),
    "clear": lambda db: db.clear(),
    "compact": lambda db: db.compact(),
    "maintain": lambda db: db.maintain(),
    "repair": lambda db: db.verify(repair=True),
}


class TestClosed:
    @pytest.mark.parametrize("call", (READS | WRITES).values(), ids=READS | WRITES)
    def test_every_operation_says_so(self, db: DB, call: Callable[[DB], object]) -> None:
        db.close()
        with pytest.raises(ClosedError, match="closed"):
            call(db)

    def test_whenever_another_thread_closes_it_a_call_is_refused(self, open_: Any) -> None:
        """The handle is closed before each step of the way to the store."""
        way = DB._open_store.fget.__code__  # type: ignore[attr-defined]
        left = 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            frame.f_trace_opcodes = frame.f_code is way
            if event == "opcode" and frame.f_code is way:
                left -= 1
                if not left:
                    db.close()
            return trace

        for at in range(1, 30):
            db, left = open_(), at
            sys.settrace(trace)
            try:
                with suppress(ClosedError):
                    db.in_place()
            finally:
                sys.settrace(None)
                db.close()
        assert left > 0  # there are fewer steps than that

    def test_closing_twice_is_nothing(self, db: DB, open_: Any) -> None:
        other = open_()
        db.close()
        db.close()
        other.put(b"k", b"v")
        assert other.get(b"k") == b"v"

    @pytest.mark.parametrize("maintenance", ["manual", "auto"])
    def test_closing_gives_the_files_back_at_once(self, open_: Any, maintenance: str) -> None:
        open_().close()
        gc.collect()
        gc.disable()
        try:
            before = descriptors_open()
            with open_(maintenance=maintenance, durability="interval") as db:
                db.put(b"k", b"v")
            del db
            assert descriptors_open() == before
        finally:
            gc.enable()

    def test_leaving_the_block_closes(self, open_: Any) -> None:
        with open_() as db:
            db.put(b"k", b"v")
        assert "closed" in repr(db)
        with open_() as db:
            assert db.get(b"k") == b"v"


class TestReadOnly:
    @pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
    def test_writes_are_refused(self, db: DB, open_: Any, call: Callable[[DB], object]) -> None:
        db.put(b"k", b"v")
        with open_(read_only=True) as reader, pytest.raises(ReadOnlyError, match="read_only=True"):
            call(reader)
        assert dict(db.scan()) == {b"k": b"v"}

    def test_it_reads_what_is_written_meanwhile(self, db: DB, open_: Any, tmp_path: Path) -> None:
        with open_(read_only=True) as reader:
            for number in range(500):
                db.put(b"%d" % number, b"v%d" % number)
            assert reader.get(b"450") == b"v450"
            db.compact()
            assert reader.get(b"4") == b"v4"
            assert len(dict(reader.scan())) == 500
            assert len(reader.get_many([b"1", b"2"])) == 2
            assert reader.verify().ok
            reader.sync()
            reader.backup(tmp_path / "copy")
            assert reader.ttl(b"3") is None

    def test_a_directory_that_cannot_be_written(self, db: DB, open_: Any, machine: Any) -> None:
        for number in range(500):
            db.put(b"%d" % number, b"v%d" % number)
        db.close()
        machine.may_write = False
        with pytest.raises(ReadOnlyError, match="read_only=True"):
            open_()
        with open_(read_only=True) as reader:
            assert reader.get(b"450") == b"v450"
            assert len(dict(reader.scan())) == len(reader.get_many(reader.keys())) == 500
            assert reader.verify().ok
            assert reader.stats().hits > 0
