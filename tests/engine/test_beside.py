"""What another process changes in the very moment in which this one looks at the store."""

from __future__ import annotations

import importlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, commit, opening, views
from stratakv.control import Control
from stratakv.maintenance import finish
from stratakv.progress import untold
from stratakv.segment import Segment
from stratakv.snapshots import Snapshots
from stratakv.views import Views
from tests.engine.machine import Death, Machine, rotate
from tests.support.children import run

Open = Callable[..., DB]
verify: Any = importlib.import_module("stratakv.verify")  # the attribute of that name is the function


def between_log_and_index(room: Any, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen once, when the next log has been opened and its index has not."""
    real = room.open_log

    def open_log(*arguments: Any, **named: Any) -> Segment:
        segment: Segment = real(*arguments, **named)
        monkeypatch.setattr(room, "open_log", real)
        happens()
        return segment

    monkeypatch.setattr(room, "open_log", open_log)


@pytest.mark.parametrize("change", ["clear", "delete_prefix"])
def test_the_segment_being_written_goes(
    db: DB, open_: Open, monkeypatch: pytest.MonkeyPatch, damage_log: list[str], change: str
) -> None:
    """It looks as if its index were missing, which would be damage."""
    with open_(read_only=True) as reader:
        rotate(db)
        happens = {"clear": db.clear, "delete_prefix": lambda: db.delete_prefix(b"x")}[change]
        between_log_and_index(views, monkeypatch, happens)
        assert reader.get(b"k") is None
        db.put(b"k", b"v")
        assert reader.get(b"k") == b"v"
    assert damage_log == []


def test_a_sealed_segment_goes(db: DB, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its index is not made anew: nobody would ever remove it."""
    db.put(b"k", b"v")
    rotate(db)
    db.put(b"l", b"v")
    rotate(db)
    between_log_and_index(opening, monkeypatch, db.compact)
    monkeypatch.setattr(opening, "build_index", None)
    with open_(read_only=True) as reader:
        assert dict(reader.scan()) == {b"k": b"v", b"l": b"v"}


class TestBackup:
    def test_others_put_meanwhile(self, db: DB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are not in the copy, and not counted there: it has no room for so many."""
        db.put(b"k", b"v")
        take = Snapshots.take

        def late(self: Snapshots) -> Any:
            found = take(self)
            db.put_many({b"%d" % number: b"" for number in range(20)})
            return found

        with monkeypatch.context() as here:
            here.setattr(Snapshots, "take", late)
            db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            assert dict(copy.scan()) == {b"k": b"v"}

    def test_a_writer_died_as_it_began_a_range_tombstone(
        self, db: DB, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one before lies in the same segment, which has no record yet."""
        db.put_many({b"a": b"deleted", b"b": b"perhaps", b"c": b"stays"})
        db.delete_prefix(b"a")
        with monkeypatch.context() as here:
            here.setattr(Control, "set_active", die)
            with pytest.raises(Death):
                db.delete_prefix(b"b")
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            assert dict(copy.scan()) == dict(db.scan()) == {b"c": b"stays"}


def die(*_: object) -> None:
    raise Death


BEFORE, AFTER = {b"a": b"old", b"b": b"old"}, {b"a": b"new", b"b": b"new"}


class TestBetweenTipAndSlots:
    """What is committed and not indexed: lookups do not find it, so nothing else may show it."""

    @pytest.fixture
    def db(self, db: DB) -> DB:
        db.put_many(BEFORE)
        return db

    def seen(self, db: DB, tmp_path: Path) -> list[dict[bytes, bytes]]:
        """What the store holds in all ways to look at it."""
        keys = list(db.keys())
        assert db.verify().damage == ()
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            copied = dict(copy.scan())
        one_by_one = {key: value for key in keys if (value := db.get(key))}
        assert len(keys) == len(one_by_one)
        return [dict(db.scan()), copied, one_by_one, db.get_many(BEFORE)]

    @pytest.mark.parametrize("first", ["scan", "keys", "backup", "verify"])
    def test_its_writer_died(
        self, db: DB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
    ) -> None:
        """Whoever looks at the whole store heals it."""
        with monkeypatch.context() as here:
            here.setattr(commit, "insert", die)
            with pytest.raises(Death):
                db.put_many(AFTER)
        look: dict[str, Callable[[], object]] = {
            "scan": lambda: list(db.scan()),
            "keys": lambda: list(db.keys()),
            "backup": lambda: db.backup(tmp_path / "first"),
            "verify": db.verify,
        }
        look[first]()
        assert self.seen(db, tmp_path) == [AFTER] * 4

    def test_where_nobody_may_write(
        self, db: DB, open_: Open, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as here:
            here.setattr(commit, "insert", die)
            with pytest.raises(Death):
                db.put_many(AFTER)
        machine.may_write = False
        with open_(read_only=True) as reader:
            keys = list(reader.keys())
            assert dict(reader.scan()) == {key: reader.get(key) for key in keys} == BEFORE
            assert reader.get_many(BEFORE) == BEFORE
            assert reader.verify().damage == ()

    @pytest.mark.parametrize("rotated", [False, True])
    def test_half_of_it_is_indexed_where_nobody_may_write(
        self, db: DB, open_: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch, *, rotated: bool
    ) -> None:
        """What the slots no longer lead to is in the log, or in an older one."""
        if rotated:
            rotate(db)
        real = commit.insert

        def insert(*arguments: Any) -> None:
            monkeypatch.setattr(commit, "insert", die)
            real(*arguments)

        monkeypatch.setattr(commit, "insert", insert)
        with pytest.raises(Death):
            db.put_many(AFTER | {b"c": b"new"})
        machine.may_write = False
        with open_(read_only=True) as reader:
            assert reader.get(b"a") == b"new"
            assert reader.get_many([*BEFORE, b"c"]) == BEFORE

    def test_a_segment_is_begun_while_somebody_looks_who_may_not_write(
        self, db: DB, open_: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the middle of one batch after the other: it is no damage that the tip lies beyond the view."""
        machine.may_write = False
        reader = open_(read_only=True)
        machine.may_write = True
        stale = reader._store.structure.current()
        rotate(db)
        db.put_many(AFTER)
        views = iter([stale])
        real = Views.current
        monkeypatch.setattr(Snapshots, "_look", lambda self: None)
        monkeypatch.setattr(Views, "current", lambda self: next(views, None) or real(self))
        assert dict(reader.scan()) == AFTER
        reader.close()

    def test_its_writer_is_slow(self, db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
        inside, real = threading.Event(), commit.insert

        def insert(*arguments: Any) -> None:
            inside.set()
            time.sleep(0.05)
            real(*arguments)

        monkeypatch.setattr(commit, "insert", insert)
        writer = threading.Thread(target=db.put_many, args=(AFTER,))
        writer.start()
        assert inside.wait(10)
        found = dict(db.scan())
        assert {key: db.get(key) for key in found} == found
        writer.join()


class TestVerify:
    def test_the_segment_that_was_being_written_is_finished_meanwhile(self, db: DB) -> None:
        for number in range(20):
            db.put(b"%d" % number, b"x" * 100)

        def progress(done: int, total: int) -> None:
            rotate(db)
            db.put(b"k", b"v")
            db.maintain()

        db.compact()
        db.put(b"k", b"v")
        assert db.verify(progress).damage == ()

    def test_the_tip_goes_to_another_segment(self, db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where that is not so long, the slots of the one before lead beyond it."""
        for number in range(20):
            db.put(b"%d" % number, b"x" * 100)
        real, view = verify._leave_out_gone, db._store.structure.current()
        check = verify.check

        def longer(directory: Any, segment: Segment, end: int, reached: Any) -> Any:
            for number in range(5):
                db.put(b"%d" % number, b"x" * 100)  # beyond where it is read
            return check(directory, segment, end, reached)

        def leave_out_gone(*arguments: Any) -> None:
            real(*arguments)
            rotate(db)
            monkeypatch.setattr(Views, "current", lambda self: view)  # taken a moment before

        monkeypatch.setattr(verify, "check", longer)
        monkeypatch.setattr(verify, "_leave_out_gone", leave_out_gone)
        inspection = verify.inspect(db._store.snapshots, untold)
        assert [each.reason for each in inspection.segments[0].damage] == []


class TestFinish:
    @pytest.mark.parametrize("room", ["open_log", "build_index"])
    def test_the_segment_is_dropped_meanwhile(
        self, db: DB, path: Path, monkeypatch: pytest.MonkeyPatch, room: str
    ) -> None:
        """As by a writer that finds the store over its budget; nothing of it stays."""
        db.put(b"k", b"v")
        rotate(db)
        real = getattr(finish, room)

        def meanwhile(*arguments: Any, **named: Any) -> Any:
            monkeypatch.setattr(finish, room, real)
            db.clear()
            return real(*arguments, **named)

        monkeypatch.setattr(finish, room, meanwhile)
        db.maintain()
        assert {each.stem for each in path.glob("0*")} == {f"{db.stats().segments[0].number:06d}"}


def test_a_segment_is_filled_and_sealed_while_a_reader_asks_what_it_began_with(open_: Open) -> None:
    """What is mapped behind the end of the log is no memory then: to look there ends the process."""
    db = open_(segment_bytes=2**16)
    rotate(db)
    begun = db._store.structure.view.active
    db.put(b"k", bytes(4096 - 72 - 28 - 1))  # the log ends with a page
    rotate(db)

    def look() -> None:
        assert begun.begun() == 72

    assert run(look) == [0]
