"""`verify(repair=True)` while others read and write: what is damaged is mended, or cannot be read again."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import stratakv
from stratakv import DB, CorruptionError, ReadOnlyError, StorageError, StoreBusyError, index
from stratakv.bit_flip import flipped_back
from stratakv.files import Files
from stratakv.progress import untold
from stratakv.repair import Repair, _is_led_to
from stratakv.verify import inspect
from tests.engine.conftest import Open
from tests.engine.machine import Machine, MachineFiles, flip, in_time, rotate

Model = dict[bytes, bytes]
HEADER, LOG_HEADER = 28, 72


def fill(db: DB) -> Model:
    """Put older versions into a main segment, newer ones into a young one, the newest into the active one."""
    model = {b"%d" % number: b"newest of %d" % number for number in range(60)}
    for key in model:
        db.put(key, b"oldest")
    db.compact()
    for key in list(model)[:40]:
        db.put(key, b"older")
    rotate(db)
    for key in list(model)[:20]:
        db.put(key, model[key])
    for number, key in enumerate(model):
        if number >= 20:
            model[key] = b"older" if number < 40 else b"oldest"
    return model


def place(db: DB, key: bytes) -> tuple[Path, int]:
    """Return the log and the offset of a key's record."""
    found = db._store.reader.find(db._store.structure.view, key)
    assert found
    return found.segment.path, found.offset


def spoil(file: Path, offset: int, size: int = 8) -> None:
    """Overwrite bytes as a bad sector would."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"\xa5" * size)


def check(db: DB, model: Model) -> None:
    assert {key: db.get(key) for key in model} == model
    assert dict(db.scan()) == {key: value for key, value in model.items() if value is not None}
    assert set(db.keys()) == {key for key, value in model.items() if value is not None}


@pytest.mark.parametrize("key", [b"5", b"25", b"45"], ids=["active", "young", "main"])
@pytest.mark.parametrize("part", [0, 8, 12, 16, 18, 20, HEADER, HEADER + 3])
def test_one_flipped_bit_of_a_record_is_flipped_back(db: DB, open_: Open, key: bytes, part: int) -> None:
    model = fill(db)
    file, offset = place(db, key)
    flip(file, offset + part, 2)
    found = db.verify().damage
    assert [(damage.path, damage.offset) for damage in found] == [(str(file), offset)]
    report = db.verify(repair=True)
    assert report.ok
    assert report.repaired == found
    check(db, model)
    db.close()
    with open_() as db:
        check(db, model)


@pytest.mark.parametrize("key", [b"5", b"25", b"45"], ids=["active", "young", "main"])
def test_what_is_lost_is_a_miss_for_good(
    db: DB, open_: Open, path: Path, machine: Machine, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its key is overwritten as well, so that nobody can read which it was; no older version comes back."""
    model: dict[bytes, bytes | None] = dict(fill(db))
    file, offset = place(db, key)
    before = file.read_bytes()
    spoil(file, offset + 16, 18)
    assert db.get(key) is None
    assert db.verify(repair=True).ok
    assert not db.verify().repaired
    assert "records lost: 1; older versions that stay hidden: " in caplog.text
    del model[key]
    model[key] = None
    check(db, model)
    damaged = db.stats().damaged_reads
    assert db.get(key) is None
    assert db.stats().damaged_reads == damaged, "a plain miss by now"
    (kept,) = (each.read_bytes() for each in path.glob(f"lost+found/*/{file.name}"))
    assert kept[:offset] == before[:offset]
    db.compact()
    check(db, model)
    db.put(key, b"again")
    machine.bury(db)
    machine.reboot()
    assert open_().get(key) == b"again"


def test_many_lost_at_once(db: DB) -> None:
    """A whole block of a log, in the middle of one that others are reading."""
    model = fill(db)
    file, offset = place(db, b"22")
    spoil(file, offset + 5, 200)
    scan = db.scan()
    report = db.verify(repair=True)
    assert report.ok
    lost = {key for key in model if db.get(key) is None}
    assert 2 < len(lost) < 10
    check(db, {key: value for key, value in model.items() if key not in lost})
    assert dict(scan).items() <= model.items()


def test_a_scan_passes_a_damaged_record_and_shows_nothing_older(db: DB) -> None:
    model = fill(db)
    for key in (b"5", b"25", b"45"):
        file, offset = place(db, key)
        spoil(file, offset + 16, 18)
        del model[key]
    for _ in "as it is", "when all of it is sealed":
        before = db.stats().damaged_reads
        assert dict(db.scan()) == model
        assert set(db.keys()) == set(model)
        assert db.stats().damaged_reads > before
        rotate(db)
    with pytest.raises(CorruptionError):
        db.compact()
    assert db.verify(repair=True).ok
    db.compact()
    assert dict(db.scan()) == model


@pytest.mark.parametrize("kind", ["active", "young", "main"])
@pytest.mark.parametrize("part", ["slots", "bloom"])
def test_an_index_is_made_anew_for_everybody(db: DB, open_: Open, kind: str, part: str) -> None:
    """Also for a process that has it open, here the handle that only reads."""
    model = fill(db)
    other = open_(read_only=True)
    segment = next(each for each in db.stats().segments if each.kind == kind)
    view = next(each for each in db._store.structure.view.segments() if each.number == segment.number)
    words = view.slots if part == "slots" else view.bloom
    for number in range(len(words)):
        words[number] = 0
    wrong = [key for key, value in model.items() if db.get(key) != value]
    assert wrong
    assert any(damage.path.endswith(".idx") for damage in db.verify().damage)
    report = db.verify(repair=True)
    assert report.ok, report.damage
    check(db, model)
    check(other, model)


FINDING: dict[str, Callable[[DB, bytes], bool]] = {
    "get": lambda db, key: db.get(key) is not None,
    "in": lambda db, key: key in db,
    "get_many": lambda db, key: key in db.get_many([key]),
    "add": lambda db, key: not db.add(key, b"ours"),
    "touch": lambda db, key: db.touch(key, None),
    "transaction": lambda db, key: in_transaction(db, key),
}


def in_transaction(db: DB, key: bytes) -> bool:
    with db.transaction() as tx:
        return key in tx


@pytest.mark.parametrize("finds", FINDING.values(), ids=FINDING)
def test_a_slot_that_leads_nowhere_heals_by_itself(
    db: DB, caplog: pytest.LogCaptureFixture, finds: Callable[[DB, bytes], bool]
) -> None:
    model = fill(db)
    segment = db._store.structure.view.sealed[0]
    for number, slot in enumerate(segment.slots):
        if slot:
            segment.slots[number] = slot ^ 1 << 39
    assert finds(db, b"25")
    assert db.get(b"25") == model[b"25"]
    assert "its index was damaged, and has been made anew" in caplog.text
    check(db, model)
    assert db.verify().ok


def test_an_index_without_an_empty_slot_does_not_hang_a_lookup(
    db: DB, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.put(b"k", b"v")
    rotate(db)
    segment = db._store.structure.view.sealed[0]
    monkeypatch.setattr(db._store.structure, "heal", lambda segment: False)
    for number in range(len(segment.slots)):
        segment.slots[number] = segment.slots[number] or 1
    for number in range(len(segment.bloom)):
        segment.bloom[number] = 2**64 - 1
    assert db.get(b"other") is None
    assert b"other" not in db


@pytest.mark.parametrize("spoilt", [8, 40, 3 * 8 + LOG_HEADER], ids=["header", "header again", "link"])
def test_the_header_of_a_log_and_a_link(db: DB, open_: Open, spoilt: int) -> None:
    model = fill(db)
    file, offset = place(db, b"26")
    flip(file, offset + 8 if spoilt > LOG_HEADER else spoilt)
    assert not db.verify().ok
    assert db.verify(repair=True).ok
    db.close()
    check(open_(), model)


@pytest.mark.parametrize("name", ["MANIFEST", "FORMAT"])
@pytest.mark.parametrize("what", ["flipped", "gone", "empty"])
def test_single_files(db: DB, open_: Open, path: Path, name: str, what: str) -> None:
    model = fill(db)
    file = path / name
    if what == "flipped":
        flip(file, 3)
    elif what == "gone":
        file.unlink()
    else:
        file.write_bytes(b"")
    assert str(file) in {damage.path for damage in db.verify().damage}
    assert db.verify(repair=True).ok
    check(db, model)
    db.close()
    check(open_(), model)


@pytest.mark.parametrize("word", [0, 1, 2, 4, 5, 6, 7, 8, 9])
def test_the_words_of_control(db: DB, path: Path, open_: Open, word: int) -> None:
    model = fill(db)
    flip(path / "CONTROL", 8 * word + 2, 4)
    assert any(damage.path == str(path / "CONTROL") for damage in db.verify().damage)
    assert db.verify(repair=True).ok
    for key in model:
        db.put(key, b"written after the repair")
        model[key] = b"written after the repair"
    check(db, model)
    db.close()
    check(open_(), model)


def test_a_manifest_that_is_damaged_is_written_anew_with_the_next_change(
    db: DB, open_: Open, path: Path
) -> None:
    model = fill(db)
    spoil(path / "MANIFEST", 100)
    rotate(db)
    db.close()
    check(open_(), model)


def test_an_older_manifest_is_not_believed(db: DB, open_: Open, path: Path) -> None:
    model = fill(db)
    older = (path / "MANIFEST.old").read_bytes()
    (path / "MANIFEST").write_bytes(older)
    db.close()
    with pytest.raises(CorruptionError, match="older"):
        open_()
    assert (path / "MANIFEST").read_bytes() == older
    (path / "MANIFEST").unlink()
    stratakv.recover(path)
    check(open_(), model)


def test_where_log_and_index_are_damaged_nothing_is_guessed(db: DB) -> None:
    fill(db)
    file, offset = place(db, b"25")
    spoil(file, offset + 16, 18)
    segment = db._store.structure.view.sealed[0]
    for number in range(len(segment.bloom)):
        segment.bloom[number] |= 1 << 60
    report = db.verify(repair=True)
    assert {Path(damage.path).suffix for damage in report.damage} == {".log", ".idx"}
    assert db.get(b"25") is None


def test_a_repair_is_a_write(open_: Open) -> None:
    open_().close()
    with open_(read_only=True) as db, pytest.raises(ReadOnlyError):
        db.verify(repair=True)


def test_a_sound_store_is_left_as_it_is(db: DB, path: Path) -> None:
    fill(db)
    before = db.stats().generation
    report = db.verify(repair=True)
    assert report.ok
    assert not report.repaired
    assert db.stats().generation == before
    assert not (path / "lost+found").exists()


Change = Callable[[Path], None]
CHANGES: dict[str, Change] = {
    "deleted": lambda file: file.unlink(),
    "empty": lambda file: (file.unlink(), file.touch())[0],
    "garbage": lambda file: (file.unlink(), file.write_bytes(b"\xa5" * 5000))[0],
    "a directory": lambda file: (file.unlink(), file.mkdir())[0],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "kind", ["active.log", "young.log", "main.log", "active.idx", "young.idx", "main.idx"]
)
def test_a_file_taken_away_under_an_open_handle_is_put_back(
    db: DB, open_: Open, path: Path, kind: str, change: str
) -> None:
    """By a process that still has it open, as far as a directory is not in the way."""
    model = fill(db)
    which, suffix = kind.split(".")
    number = next(each.number for each in db.stats().segments if each.kind == which)
    file = path / f"{number:06d}.{suffix}"
    CHANGES[change](file)
    check(db, model)
    assert str(file) in {damage.path for damage in db.verify().damage}
    if file.is_dir():
        with suppress(StorageError):
            assert not db.verify(repair=True).ok
        shutil.rmtree(file)
    report = db.verify(repair=True)
    assert report.ok, report.damage
    check(db, model)
    db.put(b"0", b"goes on")
    model[b"0"] = b"goes on"
    db.close()
    check(open_(), model)


def test_an_older_manifest_is_not_built_upon(db: DB, open_: Open, path: Path) -> None:
    """By who has the store open, and knows better."""
    model = fill(db)
    (path / "MANIFEST").write_bytes((path / "MANIFEST.old").read_bytes())
    rotate(db)
    check(db, model)
    db.close()
    check(open_(), model)


def test_a_segment_that_goes_before_it_is_mended(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """Cleared by somebody else between the look and the repair."""
    fill(db)
    file, offset = place(db, b"45")
    spoil(file, offset, 28)
    caplog.set_level(logging.INFO, "stratakv")
    found = inspect(db._store.snapshots, untold)
    db.clear()
    store = db._store
    repair = Repair(store.structure, store.committer, store.snapshots, lambda: None)
    assert sum(repair._try(one) for one in found.segments if one.damage) == 0
    assert "has gone meanwhile" in caplog.text


def test_a_disk_that_refuses_to_be_mended(db: DB, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    model = fill(db)
    file, offset = place(db, b"45")
    flip(file, offset + HEADER)
    machine.refuse = refuse_writes
    assert not db.verify(repair=True).ok
    assert "the segment is left as it is" in caplog.text
    machine.refuse = lambda step, subject: None
    assert db.verify(repair=True).ok
    check(db, model)


WORK: dict[str, Callable[[DB, Callable[..., bool]], object]] = {
    "compact": lambda db, told: db.compact(told),
    "maintain": lambda db, told: db.maintain(stop=told),
    "repair": lambda db, told: db.verify(told, repair=True),
}


@pytest.mark.parametrize("name", WORK)
def test_it_does_not_wait_for_itself(db: DB, name: str) -> None:
    """Asked for in the midst of what has the same lock."""
    refused = []

    def told(*_: int) -> bool:
        with pytest.raises(StoreBusyError, match="this very thread") as error:
            db.verify(repair=True)
        refused.append(error)
        return False

    fill(db)
    rotate(db)
    with in_time(10):
        WORK[name](db, told)
    assert refused
    assert db.verify(repair=True).ok


@pytest.mark.parametrize("repair", [False, True])
def test_no_descriptor_is_left(db: DB, monkeypatch: pytest.MonkeyPatch, *, repair: bool) -> None:
    model = fill(db)

    def refuse(files: Files) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    spoil(db.path / "MANIFEST", 100)
    with monkeypatch.context() as patch:
        patch.setattr(MachineFiles, "boot_id", refuse)
        with pytest.raises(StorageError, match="Too many open files"):
            db.verify(repair=repair)
    assert db.verify(repair=True).ok
    check(db, model)


def refuse_writes(step: str, subject: Path) -> None:
    if step == "pwrite":
        raise OSError(errno.EIO, "Input/output error")


def test_what_was_hot_stays_so_in_a_segment_that_lost_a_record(open_: Open) -> None:
    """A store with a budget keeps what is read, and a repair is no reason to forget what that was."""
    db = open_(max_bytes=2**22)
    model = {b"%d" % number: bytes(100) for number in range(30)}
    db.put_many(model)
    rotate(db)
    for _ in range(2):
        db.get(b"5")
    file, offset = place(db, b"7")
    spoil(file, offset, 12)
    db.verify(repair=True)
    del model[b"7"]
    check(db, model)
    segment = db._store.structure.current().sealed[-1]
    assert index.heat_of(segment.arrays, b"5", place(db, b"5")[1]) > index.heat_of(
        segment.arrays, b"6", place(db, b"6")[1]
    )


def test_a_record_whose_header_is_cut_cannot_be_mended(db: DB) -> None:
    db.put(b"k", b"v")
    active = db._store.structure.view.active
    end, _, _ = active.filled()
    assert flipped_back(active.log, end - HEADER + 1, end) is None


def test_only_keys_whose_probes_come_to_a_lost_slot_are_hidden(db: DB) -> None:
    db.put_many({b"%d" % number: b"v" for number in range(60)})
    segment = db._store.structure.view.active
    taken = [place for place, slot in enumerate(segment.slots) if slot]
    assert _is_led_to(segment, b"5", taken)
    found = db._store.reader.find(db._store.structure.view, b"5")
    assert found
    assert _is_led_to(segment, b"5", [found.place])
    assert not all(_is_led_to(segment, b"absent %d" % number, [found.place]) for number in range(9))
