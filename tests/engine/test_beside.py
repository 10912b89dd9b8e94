"""What another process changes in the very moment in which this one looks at the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, opening, views
from stratakv.control import Control
from stratakv.segment import Segment
from stratakv.views import Views
from tests.engine.machine import Death, Machine, rotate

Open = Callable[..., DB]


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
        now = Views.now

        def late(self: Views) -> Any:
            found = now(self)
            db.put_many({b"%d" % number: b"" for number in range(20)})
            return found

        with monkeypatch.context() as here:
            here.setattr(Views, "now", late)
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
