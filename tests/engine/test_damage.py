"""Damage is a miss that is counted and reported; it never shows an older version or another key's value."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, CorruptionError
from stratakv.control import W_INDEXED
from stratakv.index import Shape
from tests.engine.machine import Machine, flip

Open = Callable[..., DB]
HEADER, LOG_HEADER = 28, 72


def put_twice(db: DB, kind: str) -> tuple[str, int]:
    """Store an older and a newer version of `k`; return the log of the newer one and its offset."""
    db.put(b"k", b"old value")
    db.compact()
    db.put(b"other", b"v")
    offset = db.stats().segments[0].log_bytes
    db.put(b"k", b"new value")
    if kind == "active":
        return f"{db.stats().segments[0].number:06d}.log", offset
    if kind == "young":
        db.put(b"large", b"v" * 4000)
        return f"{db.stats().segments[1].number:06d}.log", offset
    db.compact()
    return f"{db.stats().segments[1].number:06d}.log", LOG_HEADER


@pytest.mark.parametrize("kind", ["active", "young", "main"])
@pytest.mark.parametrize("place", [0, 7, 12, 16, 18, 20, HEADER, HEADER + 1, HEADER + 9])
def test_a_damaged_record_is_a_miss(
    db: DB, path: Path, caplog: pytest.LogCaptureFixture, kind: str, place: int
) -> None:
    """Every field but the link, which only recovery asks."""
    name, offset = put_twice(db, kind)
    flip(path / name, offset + place, 3)
    with caplog.at_level(logging.ERROR, "stratakv"):
        assert db.get(b"k", b"default") == b"default"
    assert f"{name}: the record at byte {offset} is damaged" in caplog.text
    assert db.stats().damaged_reads == 1
    assert b"k" not in db
    assert db.get_many([b"k", b"other"]) == {b"other": b"v"}
    report = db.verify()
    assert not report.ok
    assert (report.damage[0].path, report.damage[0].offset) == (str(path / name), offset)
    with pytest.raises(CorruptionError):
        db.compact()
    assert db.get(b"other") == b"v"


@pytest.mark.parametrize("kind", ["active", "young", "main"])
@pytest.mark.parametrize("place", [0, 16, HEADER, HEADER + 1])
def test_a_key_written_anew_is_there_again(db: DB, path: Path, kind: str, place: int) -> None:
    name, offset = put_twice(db, kind)
    flip(path / name, offset + place, 3)
    assert db.get(b"k") is None
    db.put(b"k", b"newest")
    assert db.get(b"k") == b"newest"
    assert db.add(b"k", b"other") is False


@pytest.mark.parametrize("kind", ["active", "young", "main"])
@pytest.mark.parametrize("place", [0, 16, HEADER, HEADER + 9])
@pytest.mark.parametrize(
    "delete",
    [
        lambda db: db.delete(b"k"),
        lambda db: db.delete_many([b"k"]),
        lambda db: in_transaction(db, b"k"),
    ],
)
def test_what_is_deleted_stays_so_when_it_is_mended(
    db: DB, path: Path, kind: str, place: int, delete: Callable[[DB], object]
) -> None:
    """It was not there when it was deleted, and will not be."""
    name, offset = put_twice(db, kind)
    flip(path / name, offset + place, 3)
    assert not delete(db)
    assert not delete(db)
    flip(path / name, offset + place, 3)
    assert db.get(b"k") is None
    assert db.verify().ok
    db.compact()
    assert db.get(b"k") is None


def in_transaction(db: DB, key: bytes) -> bool:
    with db.transaction() as tx:
        return tx.delete(key)


def test_damage_makes_no_tombstones_for_other_keys(db: DB, path: Path) -> None:
    name, offset = put_twice(db, "young")
    flip(path / name, offset + HEADER + 9, 3)
    assert db.get(b"k") is None
    before = db.stats().log_bytes
    assert not db.delete(b"absent")
    assert db.stats().log_bytes == before


def test_a_read_past_the_end_is_damage(db: DB, path: Path) -> None:
    db.put(b"k", b"v")
    flip(path / "000001.log", LOG_HEADER + 15, 7)  # a value of 2 GiB more
    assert db.get(b"k") is None
    assert db.stats().damaged_reads == 1


def test_damage_is_a_miss_for_many_keys_beside_a_dead_writer(db: DB, open_: Open, path: Path) -> None:
    """A process that may not write cannot heal, and looks among the records that were there before."""
    for key in (b"k", b"other"):
        db.put(key, b"value")
    db.put(b"large", b"v" * 4000)
    flip(path / "000001.log", LOG_HEADER + HEADER + 2, 3)
    reader = open_(read_only=True)
    db.put(b"k", b"new value")
    words = db._store.control.words
    words[W_INDEXED] -= HEADER + len(b"k") + len(b"new value")
    assert reader.get_many([b"k", b"other"]) == {b"other": b"value"}


class TestCollisions:
    """All keys have the same hash: the same home, the same fingerprint, the same Bloom bits."""

    @pytest.fixture(autouse=True)
    def collide(self, monkeypatch: Any) -> Callable[[int], None]:
        from stratakv import index, indexing, lookup, reader, repair, soundness, writer
        from stratakv.maintenance import evict, output

        def collide(first: int) -> None:
            for module in (index, indexing, lookup, reader, repair, soundness, writer, evict, output):
                monkeypatch.setattr(module, "hash_key", lambda key: (first, 67890))

        collide(12345)
        return collide

    def test_each_key_has_its_own_value(self, db: DB, open_: Open) -> None:
        model = {b"%d" % number: b"v%d" % number for number in range(150)}
        for key, value in model.items():
            db.put(key, b"old")
            db.put(key, value)
        db.delete(b"77")
        del model[b"77"]
        for again in (lambda: None, db.compact, db.compact):
            again()
            assert {key: db.get(key) for key in model} == model
            assert db.get(b"77") is db.get(b"absent") is None
            assert db.get_many([*model, b"77"]) == model
            assert db.verify().ok
        assert db.stats().damaged_reads == 0

    def test_a_probe_goes_on_at_the_first_slot(self, db: DB, collide: Callable[[int], None]) -> None:
        collide(Shape.exact(20, 1).slots - 1)  # the last one of the index of as many keys
        model = {b"%d" % number: b"v%d" % number for number in range(20)}
        db.put_many(model)
        db.compact()
        assert {key: db.get(key) for key in model} == model
        assert db.verify().ok


class TestIndexes:
    """An index is never believed unseen once it may have been to the disk and back."""

    def fill(self, db: DB) -> dict[bytes, bytes]:
        model = {b"%d" % number: b"v%d" % number for number in range(300)}
        for key in model:
            db.put(key, b"old")
        db.compact()
        for key, value in model.items():
            db.put(key, value)
        return model

    @pytest.mark.parametrize("kind", ["active", "young", "main"])
    @pytest.mark.parametrize("place", ["slots", "bloom", "header"])
    def test_a_flipped_bit_while_closed(self, db: DB, open_: Open, path: Path, kind: str, place: str) -> None:
        model = self.fill(db)
        segments = db.stats().segments
        chosen = next(segment for segment in segments if segment.kind == kind)
        assert chosen.keys > 10
        index = path / f"{chosen.number:06d}.idx"
        db.close()
        data = bytearray(index.read_bytes())
        slots = int.from_bytes(data[24:32], "little")
        words = int.from_bytes(data[32:40], "little")
        start, end = {"slots": (128, 128 + 8 * slots), "header": (24, 32)}.get(
            place, (128 + 8 * slots, 128 + 8 * (slots + words))
        )
        for offset in range(start, end):
            if data[offset]:
                data[offset] &= data[offset] - 1  # one bit fewer
                break
        index.write_bytes(data)
        db = open_()
        assert {key: db.get(key) for key in model} == model
        assert db.verify().ok

    @pytest.mark.parametrize("names", [["CONTROL"], ["*.idx"], ["CONTROL", "*.idx"]])
    def test_derived_files_come_back(self, db: DB, open_: Open, path: Path, names: list[str]) -> None:
        model = self.fill(db)
        db.close()
        for name in names:
            for file in path.glob(name):
                file.unlink()
        db = open_()
        assert {key: db.get(key) for key in model} == dict(db.scan()) == model
        assert db.verify().ok

    @pytest.mark.parametrize("junk", [b"", b"\0" * 5000, b"\xff" * 30_000])
    @pytest.mark.parametrize("name", ["CONTROL", "000001.idx"])
    def test_derived_files_full_of_junk(
        self, db: DB, open_: Open, path: Path, name: str, junk: bytes
    ) -> None:
        db.put(b"k", b"v")
        db.close()
        (path / name).write_bytes(junk)
        for _ in range(3):
            with open_() as db:
                assert dict(db.scan()) == {b"k": b"v"}
                assert db.get(b"k") == b"v"
                assert db.verify().ok
                assert db.stats().misses < 100

    def test_verify_asks_the_filter_too(self, db: DB) -> None:
        """A lookup asks the Bloom bits first: without them the slot is never reached."""
        db.put(b"k", b"v")
        bloom = db._store.structure.view.active.arrays.bloom
        for place in range(len(bloom)):
            bloom[place] = 0
        assert db.get(b"k") is None
        assert not db.verify().ok


class TestManifest:
    def test_a_damaged_one_is_an_error_that_helps(self, db: DB, open_: Open, path: Path) -> None:
        db.put(b"k", b"v")
        db.close()
        flip(path / "MANIFEST", 60)
        with pytest.raises(CorruptionError, match=r"MANIFEST.*checksum.*verify --repair.*recover") as caught:
            open_()
        assert caught.value.path == str(path / "MANIFEST")
        stratakv.recover(path)
        assert open_().get(b"k") == b"v"

    @pytest.mark.parametrize("kind", ["active", "young", "main"])
    def test_a_log_that_is_gone(self, db: DB, open_: Open, path: Path, kind: str) -> None:
        put_twice(db, "young")
        number = next(segment.number for segment in db.stats().segments if segment.kind == kind)
        db.close()
        (path / f"{number:06d}.log").unlink()
        if kind == "active":
            open_().close()  # as after a reboot; the loss is logged
        else:
            with pytest.raises(CorruptionError, match="missing"):
                open_()

    @pytest.mark.parametrize("kind", ["young", "main"])
    def test_a_log_that_is_cut_short(self, db: DB, open_: Open, path: Path, kind: str) -> None:
        put_twice(db, "young")
        number = next(segment.number for segment in db.stats().segments if segment.kind == kind)
        db.close()
        with (path / f"{number:06d}.log").open("r+b") as file:
            file.truncate(80)
        with pytest.raises(CorruptionError, match="cut short"):
            open_()


def test_counters_of_the_dead_are_kept(db: DB, machine: Machine, open_: Open) -> None:
    """As far as it had told them, which is when somebody asks it and when it ends."""
    db.put(b"k", b"v")
    assert db.stats().records_written == 1
    machine.bury(db)
    db = open_()
    db.put(b"k", b"v")
    assert db.stats().records_written == 2
