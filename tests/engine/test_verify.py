"""What `verify` says of a store that is open, and how it is mended, where nothing was lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stratakv import DB, CorruptionError, StorageError, past_damage, record, soundness
from stratakv.control import W_BUSY, W_GENERATION, W_NEXT, W_SYNCED, W_TIP
from stratakv.log import HEADER_BYTES, OFFSET_MASK, LogHeader
from tests.engine.conftest import Open
from tests.engine.machine import Machine, flip

RECORD = 28 + 2 + 50


@pytest.fixture
def filled(db: DB) -> dict[bytes, bytes]:
    """Thirty keys in a main segment, and the same thirty in the active one."""
    model = {b"%02d" % number: b"v" * 50 for number in range(30)}
    db.put_many(model)
    db.compact()
    db.put_many(model)
    return model


def newest(db: DB) -> Path:
    return db.path / f"{db.stats().segments[0].number:06d}.log"


def main(db: DB) -> Path:
    return db.path / f"{db.stats().segments[1].number:06d}.log"


def reasons(db: DB) -> str:
    return " | ".join(f"{Path(each.path).name} {each.offset} {each.reason}" for each in db.verify().damage)


@pytest.mark.parametrize(
    ("word", "value"),
    [(W_BUSY, 2), (W_SYNCED, 2**62), (W_NEXT, 0), (W_NEXT, 2**40)],
    ids=["busy", "synced", "next lower", "next higher"],
)
def test_a_word_that_cannot_be(
    db: DB, filled: dict[bytes, bytes], open_: Open, path: Path, word: int, value: int
) -> None:
    db._store.control.words[word] = value
    assert {(each.path, each.offset) for each in db.verify().damage} == {(str(path / "CONTROL"), 8 * word)}
    assert db.verify(repair=True).ok
    db.compact()
    db.put(b"after", b"v")
    db.close()
    with open_() as db:
        assert dict(db.scan()) == {**filled, b"after": b"v"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "cannot be opened|No such file"),
        (lambda file: (file.unlink(), file.write_bytes(b"")), "deleted or replaced"),
    ],
    ids=["deleted", "replaced"],
)
def test_control_that_is_not_the_one_in_use(
    db: DB, filled: object, path: Path, change: Callable[[Path], object], reason: str
) -> None:
    change(path / "CONTROL")
    (damage,) = db.verify().damage
    assert damage.path == str(path / "CONTROL")
    assert any(part in damage.reason for part in reason.split("|"))


@pytest.mark.parametrize("name", ["MANIFEST", "FORMAT"])
def test_a_directory_in_place_of_a_file(db: DB, filled: object, path: Path, name: str) -> None:
    (path / name).unlink()
    (path / name).mkdir()
    assert {Path(each.path).name for each in db.verify().damage} == {name}


def test_a_log_that_is_cut_short(db: DB, filled: object) -> None:
    """Nothing of it may be read: a page of the map that has no file behind it would end the process."""
    log = main(db)
    os.truncate(log, HEADER_BYTES + 3)
    assert "the log is cut short" in reasons(db)


@pytest.mark.parametrize("bit", [0, 13])
def test_a_slot_that_leads_beyond_the_end(db: DB, filled: dict[bytes, bytes], bit: int) -> None:
    active = db._store.structure.view.active
    free = active.slots.tolist().index(0)
    active.slots[free] = active.end + 2**bit & OFFSET_MASK
    assert "one of its slots leads beyond the end of the log" in reasons(db)
    assert db.verify(repair=True).ok
    assert dict(db.scan()) == filled


def test_segments_that_leave_the_store_meanwhile(db: DB, filled: dict[bytes, bytes]) -> None:
    """Their files are gone, and that is no damage."""
    done = []

    def compact(read: int, total: int) -> None:
        if not done:
            done.append(read)
            db.compact()

    report = db.verify(progress=compact)
    assert done
    assert report.damage == ()


def test_progress_is_told_within_a_segment(
    db: DB, filled: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "_STEP_RECORDS", 7)
    told: list[tuple[int, int]] = []
    db.verify(progress=lambda read, total: told.append((read, total)))
    reads = [read for read, _ in told]
    assert len(reads) == 2 * len(filled) // 7 + 2
    assert reads == sorted(reads)
    assert told[-1][0] == told[-1][1]


def test_the_header_of_an_index(db: DB, filled: dict[bytes, bytes]) -> None:
    db._store.structure.view.active.arrays.header[2] ^= 1
    assert "the header of the index is not sound" in reasons(db)
    assert db.verify(repair=True).ok
    assert dict(db.scan()) == filled


def test_behind_damage_at_the_end_there_is_nothing(db: DB, filled: object) -> None:
    """Not even the header of a record fits in there."""
    segment = db._store.structure.view.active
    end, _, _ = segment.filled()
    assert past_damage.follower(segment, end - 27, end) is None


class TestACompactedLog:
    """It says of itself that it is in key order, and that it is whole."""

    def spoil(self, db: DB, change: Callable[[bytearray], None]) -> None:
        log = main(db)
        data = bytearray(log.read_bytes())
        change(data)
        with log.open("r+b") as file:  # the same file, as it is mapped
            file.write(data)

    def test_keys_out_of_order(self, db: DB, filled: object) -> None:
        def swap(data: bytearray) -> None:
            first, second = (
                slice(HEADER_BYTES + n * RECORD, HEADER_BYTES + (n + 1) * RECORD) for n in (3, 4)
            )
            data[first], data[second] = data[second], data[first]

        self.spoil(db, swap)
        assert "the keys are not in order" in reasons(db)

    def test_without_its_end(self, db: DB, filled: object) -> None:
        """The last record is sound, and another one."""

        def write_another(data: bytearray) -> None:
            link = int.from_bytes(data[-20:-16], "little")
            body = record.encode(record.Kind.PUT | record.COMMIT, b"", b"", 0)
            data[-28:] = record.frame(body, record.checksum_of(body), link)

        self.spoil(db, write_another)
        assert "the log does not end as a whole one does" in reasons(db)


def test_a_header_that_says_of_range_tombstones_what_is_not_so(
    db: DB, filled: dict[bytes, bytes], open_: Open
) -> None:
    db.delete_prefix(b"0")
    log = newest(db)
    header = LogHeader.unpack(log.read_bytes()[:HEADER_BYTES])
    assert header
    assert header.ranges == 1
    segment = db._store.structure.view.active
    segment.ranges = ()
    assert "a range tombstone is missing" in reasons(db)


class TestOldCopies:
    """An administrator puts a file back that was there before, under an open handle."""

    def test_of_the_manifest(self, db: DB, filled: object, path: Path) -> None:
        older = (path / "MANIFEST.old").read_bytes()
        (path / "MANIFEST").write_bytes(older)
        db._store.control.words[W_GENERATION] += 1  # another process has changed something
        with pytest.raises(CorruptionError, match="older than the one before it"):
            db.get(b"00")

    def test_of_the_active_index(self, db: DB, path: Path) -> None:
        before = (path / "000001.idx").read_bytes()
        db.put(b"k", b"v")
        structure = db._store.structure
        found = structure.view.manifest
        (path / "000001.idx").write_bytes(before)
        with pytest.raises(CorruptionError, match="not the index that is being written to"):
            structure._open(found, None)

    def test_none_of_a_sealed_index(self, db: DB, filled: dict[bytes, bytes]) -> None:
        """It is made anew with the next change of structure."""
        index = main(db).with_suffix(".idx")
        index.unlink()
        db.delete_prefix(b"none of them")
        assert index.exists()
        assert db.verify().ok
        assert dict(db.scan()) == filled

    def test_none_of_the_active_index(self, db: DB, path: Path) -> None:
        (path / "000001.idx").unlink()
        structure = db._store.structure
        with pytest.raises(CorruptionError, match="being written is missing"):
            structure._open(structure.view.manifest, None)


def test_an_index_that_cannot_be_made_anew(
    db: DB, filled: dict[bytes, bytes], machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """A lookup in it is a miss, as before, until there is space."""

    def full(step: str, subject: Path) -> None:
        if step == "allocate":
            raise OSError(28, "No space left on device")

    segment = db._store.structure.view.sealed[0]
    segment.slots[segment.slots.tolist().index(0)] = 2**24 - 1
    machine.refuse = full
    assert not db._store.structure.heal(segment)
    assert "could not be made anew" in caplog.text
    machine.refuse = lambda step, subject: None
    assert db._store.structure.heal(segment)
    assert db.verify().ok


def test_a_sealed_log_that_cannot_be_cut(db: DB, filled: dict[bytes, bytes], machine: Machine) -> None:
    """It is longer than it was sealed at, and the change of structure is finished by the next writer."""

    log = newest(db)

    def refuse(step: str, subject: Path) -> None:
        if (step, subject) == ("truncate", log):
            raise OSError(5, "Input/output error")

    machine.refuse = refuse
    with pytest.raises(StorageError, match="Input/output"):
        db.delete_prefix(b"0")
    machine.refuse = lambda step, subject: None
    db.put(b"after", b"v")
    assert dict(db.scan()) == {
        **{key: value for key, value in filled.items() if not key.startswith(b"0")},
        b"after": b"v",
    }
    assert db.verify().ok


@pytest.mark.parametrize("later", [0, 1])
def test_a_tip_in_no_segment_is_damage(db: DB, filled: object, later: int) -> None:
    structure = db._store.structure
    active = structure.view.active
    structure.control.words[W_TIP] = (active.number + later << 40) + active.end + 1
    with pytest.raises(CorruptionError, match="the tip lies in no segment"):
        db._store.snapshots.take()


def test_a_manifest_and_a_record_damaged_at_once(db: DB, open_: Open) -> None:
    """The log ends where it ended: what was written behind the record is not given up."""
    for key in (b"1", b"2", b"3"):
        db.put(key, b"v" * 500)
    flip(newest(db), HEADER_BYTES + 28 + 501 + 40, 1)
    (db.path / "MANIFEST").write_bytes(b"junk")
    assert db.verify(repair=True).ok
    db.put(b"4", b"v")
    db.close()
    with open_() as db:
        assert set(db.keys()) >= {b"1", b"3", b"4"}
