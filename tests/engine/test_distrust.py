"""What maintenance does with damage in what it reads or has just written: nothing that cannot be undone."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stratakv import DB, CorruptionError, StorageError, rewrite
from stratakv.log import HEADER_BYTES, OFFSET_MASK
from stratakv.maintenance import output
from stratakv.maintenance.blocks import in_key_order
from stratakv.maintenance.early_end import SupersededError
from stratakv.maintenance.evict import is_current
from stratakv.maintenance.task import Task
from stratakv.maintenance.tasks import Tasks, is_hidden
from stratakv.record import PREFIX_BYTES, checksum_of
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log
from stratakv.view import View
from tests.engine.conftest import Open
from tests.engine.machine import Machine, flip, rotate

VALUE_BYTES = 50
RECORD = 28 + 3 + VALUE_BYTES
OLDER = b"o" * VALUE_BYTES
IN_KEY, IN_VALUE = 28, 40
MODEL = {b"k%02d" % number: b"v" * VALUE_BYTES for number in range(30)}


def view_of(db: DB) -> View:
    return db._store.structure.current()


def numbers(db: DB) -> list[int]:
    return [segment.number for segment in view_of(db).segments()]


def tasks(db: DB, sync: Callable[[], None] = lambda: None) -> Tasks:
    store = db._store
    return Tasks(store.structure, store.committer, sync, lambda read: None)


@pytest.fixture
def value_bytes() -> int:
    return VALUE_BYTES


@pytest.fixture
def filled(db: DB, value_bytes: int) -> DB:
    """A finished young segment over a main one with the same keys; the active one has nothing."""
    db.put_many(dict.fromkeys(MODEL, b"o" * value_bytes))
    db.compact()
    db.put_many(dict.fromkeys(MODEL, b"v" * value_bytes))
    rotate(db)
    tasks(db).do(Task("finish", (view_of(db).sealed[0].number,)))
    assert [len(segment.arrays.order) > 0 for segment in view_of(db).sealed] == [True, True]
    return db


def young(db: DB) -> Segment:
    return view_of(db).sealed[0]


def main(db: DB) -> Segment:
    return view_of(db).sealed[1]


@pytest.mark.parametrize("value_bytes", [VALUE_BYTES, 300])  # which are read in different ways
class TestInputs:
    """A merge never believes a record unseen; what it cannot read, it leaves to `verify` and `recover`."""

    @pytest.mark.parametrize("which", [young, main])
    @pytest.mark.parametrize("part", [0, 12, 15, 16, 28, 40])
    def test_a_damaged_record(
        self, filled: DB, value_bytes: int, which: Callable[[DB], Segment], part: int
    ) -> None:
        segment = which(filled)
        second = HEADER_BYTES + 28 + 3 + value_bytes
        flip(segment.path, second + part, 7)
        before = numbers(filled)
        with pytest.raises(CorruptionError) as caught:
            filled.compact()
        assert (caught.value.path, caught.value.offset) == (str(segment.path), second)
        assert numbers(filled) == before

    def test_a_record_that_says_it_is_longer_than_the_log(self, filled: DB, value_bytes: int) -> None:
        """Its checksum holds for what there is of it."""
        segment = young(filled)
        last = segment.end - 28 - 3 - value_bytes
        body = bytearray(segment.view[last + PREFIX_BYTES : segment.end])
        body[:4] = (value_bytes + 1).to_bytes(4, "little")
        with segment.path.open("r+b") as file:
            file.seek(last)
            file.write(checksum_of(bytes(body)).to_bytes(8, "little"))
            file.seek(last + PREFIX_BYTES)
            file.write(body)
        directory = filled._store.directory
        mapped = open_log(directory, segment.number, segment.entry, write=False)  # to its end and no further
        assert map_index(directory, mapped, write=False)
        with pytest.raises(CorruptionError):
            list(in_key_order(mapped))

    def test_a_key_order_that_leads_beyond_the_end(self, filled: DB) -> None:
        segment = young(filled)
        segment.arrays.order[3] = segment.end + 1000
        with pytest.raises(CorruptionError, match="leads beyond the end"):
            filled.compact()

    def test_a_log_in_key_order_that_has_no_end(self, filled: DB) -> None:
        entry = main(filled).entry
        assert entry
        directory = filled._store.directory
        cut = open_log(directory, entry.number, replace(entry, size=HEADER_BYTES), write=False)
        with pytest.raises(CorruptionError, match="does not end as a whole one does"):
            list(in_key_order(cut))

    @pytest.mark.parametrize("place", [IN_KEY, IN_VALUE])
    def test_a_damaged_record_may_be_of_any_key_that_leads_to_it(
        self, filled: DB, value_bytes: int, place: int
    ) -> None:
        """So an older version does not count as current, and goes before it could show."""
        flip(young(filled).path, HEADER_BYTES + 28 + 3 + value_bytes + place)
        view = view_of(filled)
        newer = view.among((view.active, *view.newer_than(main(filled))))
        assert not is_current(newer, b"k01")
        assert not is_current(newer, b"k02")
        assert is_current(view.among([view.active]), b"k02")


class TestRangeTombstones:
    def test_a_segment_whose_bounds_cannot_be_told_is_not_dropped(self, filled: DB) -> None:
        filled.delete_prefix(b"k")
        segment = main(filled)
        assert is_hidden(view_of(filled), segment)
        for place in range(len(segment.arrays.order)):
            segment.arrays.order[place] = segment.end - 28  # its END record, which has no key
        assert not is_hidden(view_of(filled), segment)


class TestScans:
    def test_a_key_order_that_leads_nowhere_shows_nothing_older(self, filled: DB) -> None:
        segment = young(filled)
        segment.arrays.order[3] = HEADER_BYTES + 1
        shown = dict(filled.scan())
        assert OLDER not in shown.values()
        assert len(shown) >= len(MODEL) - 1

    def test_a_log_whose_end_is_damaged_is_shown_to_its_last_key(self, filled: DB) -> None:
        filled.delete(b"k07")
        flip(main(filled).path, main(filled).end - 10)
        assert set(filled.keys()) == MODEL.keys() - {b"k07"}
        assert {key for key, _ in filled.scan()} == MODEL.keys() - {b"k07"}


class TestOlderSegments:
    """A damaged record in an older segment may be of any key whose slot leads to it."""

    @pytest.fixture(params=[IN_KEY, IN_VALUE])
    def place(self, request: pytest.FixtureRequest) -> int:
        place: int = request.param
        return place

    @pytest.fixture
    def damaged(self, db: DB, place: int) -> DB:
        db.put_many(dict.fromkeys(MODEL, OLDER))
        db.compact()
        segment = view_of(db).sealed[0]
        for number in range(len(MODEL)):
            flip(segment.path, HEADER_BYTES + number * RECORD + place)
        return db

    def test_a_tombstone_over_it_stays(self, damaged: DB) -> None:
        """It may hide what is read again once the record is mended."""
        for key in (b"k05", b"k06"):
            damaged.put(key, b"v")
            rotate(damaged)
        damaged.delete(b"k05")
        rotate(damaged)
        tasks(damaged).merge(view_of(damaged), list(view_of(damaged).sealed[:3]))
        assert set(young(damaged).latest(young(damaged).end)) == {b"k05", b"k06"}
        assert damaged.get(b"k05") is None

    def test_finishing_a_segment_over_it(self, damaged: DB, place: int) -> None:
        """Without its key it is not known to be hidden, and nothing else comes of it."""
        damaged.put_many(MODEL)
        rotate(damaged)
        tasks(damaged).do(Task("finish", (young(damaged).number,)))
        older = main(damaged).entry
        assert older
        assert older.dead == 28 + (len(MODEL) * RECORD if place == IN_VALUE else 0)  # 28: its END record
        assert dict(damaged.scan()) == MODEL


class TestOutputs:
    """What was written is looked at before it takes the place of what it was made from."""

    def test_an_index_that_is_not_sound(self, filled: DB, monkeypatch: pytest.MonkeyPatch) -> None:
        before = numbers(filled)
        monkeypatch.setattr(output.index, "is_sound", lambda arrays, size: False)
        with pytest.raises(CorruptionError, match="the index that was just written is not sound"):
            filled.compact()
        monkeypatch.undo()
        assert numbers(filled) == before
        assert dict(filled.scan()) == MODEL

    def test_an_index_that_misses_a_record(self, filled: DB, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "lookup", lambda segment, key, first: None)
        with pytest.raises(CorruptionError, match="misses the record at 72"):
            filled.compact()
        monkeypatch.undo()
        assert dict(filled.scan()) == MODEL

    @pytest.mark.parametrize(
        ("step", "suffix"),
        [
            ("pwrite", ".log"),
            ("fdatasync", ".log"),
            ("allocate", ".idx"),
            ("truncate", ".idx"),
            ("fdatasync", ".idx"),
        ],
    )
    def test_a_disk_that_refuses(
        self, filled: DB, machine: Machine, path: Path, step: str, suffix: str
    ) -> None:
        others = {
            b"l%02d" % number: b"v" for number in range(99)
        }  # so many that the index made first will do
        filled.put_many(others)
        rotate(filled)
        files = set(path.iterdir())

        def refuse(name: str, subject: Path) -> None:
            if name == step and subject.suffix == suffix and subject not in files:
                raise OSError(errno.EIO, "Input/output error")

        machine.refuse = refuse
        with pytest.raises(StorageError, match="Input/output"):
            filled.compact()
        assert set(path.iterdir()) == files
        machine.refuse = lambda name, subject: None
        filled.compact()
        assert dict(filled.scan()) == MODEL | others

    def test_a_log_that_is_synced_while_it_grows(
        self, filled: DB, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A write that fails meanwhile waits for the sync: the descriptor must not be closed under it."""
        monkeypatch.setattr(rewrite, "_BUFFER_BYTES", 1)
        monkeypatch.setattr(rewrite, "_SYNC_BYTES", 1)
        sealed = {segment.path for segment in view_of(filled).segments()}
        writes: list[Path] = []

        def refuse(step: str, subject: Path) -> None:
            if step == "pwrite" and subject.suffix == ".log" and subject not in sealed:
                writes.append(subject)
                if len(writes) == 3:
                    raise OSError(errno.ENOSPC, "No space left on device")

        machine.refuse = refuse
        with pytest.raises(StorageError):
            filled.compact()
        machine.refuse = lambda step, subject: None
        filled.compact()
        assert dict(filled.scan()) == MODEL
        assert filled.verify().ok


class TestSupersededTasks:
    """What was to be done is void where its segments have left the store."""

    def test_before_it_began(self, filled: DB) -> None:
        number = young(filled).number
        filled.clear()
        with pytest.raises(SupersededError):
            tasks(filled).do(Task("finish", (number,)))

    def test_while_a_segment_was_finished(self, db: DB) -> None:
        db.put_many(MODEL)
        rotate(db)
        number = young(db).number
        begun = tasks(db)
        begun._pace = lambda read: db.clear()
        with pytest.raises(SupersededError):
            begun.do(Task("finish", (number,)))
        assert dict(db.scan()) == {}

    def test_while_one_was_about_to_be_dropped(self, filled: DB) -> None:
        with pytest.raises(SupersededError):
            tasks(filled, sync=filled.clear).do(Task("drop", (main(filled).number,)))

    def test_while_one_was_about_to_be_adopted(self, filled: DB) -> None:
        segment = young(filled)
        filled.clear()
        with pytest.raises(SupersededError):
            tasks(filled)._adopt(segment)


def test_bytes_that_a_segment_hides_in_one_that_has_gone(db: DB) -> None:
    """They count no more; what else was counted does."""
    db.put_many(MODEL)
    db.compact()
    older = view_of(db).sealed[0]
    db.put_many(MODEL)
    rotate(db)
    number = young(db).number

    def drop(read: int) -> None:
        if older in view_of(db).sealed:
            tasks(db).do(Task("drop", (older.number,)))

    begun = tasks(db)
    begun._pace = drop
    begun.do(Task("finish", (number,)))
    entry = view_of(db).sealed[0].entry
    assert entry
    assert (len(view_of(db).sealed), entry.finished, entry.keys) == (1, True, len(MODEL))
    assert dict(db.scan()) == MODEL


def test_a_table_of_ghosts_that_cannot_be_made(open_: Open, machine: Machine) -> None:
    """Nothing is evicted without it, and the next attempt begins anew."""
    full = False

    def refuse(step: str, subject: Path) -> None:
        if full and step == "allocate" and subject.name.startswith("GHOSTS"):
            raise OSError(errno.ENOSPC, "No space left on device")

    machine.refuse = refuse
    db = open_(max_bytes=2**18)
    for number in range(240):
        db.put(b"%d" % number, bytes(1000))
    full = True
    with pytest.raises(StorageError, match="No space left"):
        db.maintain()
    full = False
    db.maintain()
    assert db.stats().evicted_keys
    assert db.get(b"239") == bytes(1000)


def test_no_slot_leads_to_it(filled: DB) -> None:
    """Nothing but the offset of the last record will do."""
    active = view_of(filled).active
    filled.put(b"k", b"v")
    assert active.leads_to(b"k", HEADER_BYTES)
    assert not active.leads_to(b"k", HEADER_BYTES + 1)
    for place in range(active.slot_count):
        active.slots[place] |= OFFSET_MASK & 1
    assert not active.leads_to(b"absent", HEADER_BYTES)


def test_a_table_of_ghosts_that_was_cut(open_: Open, path: Path) -> None:
    """It holds nothing that is needed: it is begun anew with the next eviction."""

    def evict(db: DB, first: int) -> None:
        for number in range(first, first + 250):
            db.put(b"%d" % number, bytes(1000))
        db.maintain()
        assert db.get(b"%d" % (first + 249)) == bytes(1000)

    with open_(max_bytes=2**18) as db:
        evict(db, 0)
    with (path / "GHOSTS").open("r+b") as file:
        file.truncate(12)
    with open_(max_bytes=2**18) as db:
        assert db.get(b"249") == bytes(1000)
        evict(db, 250)
    assert (path / "GHOSTS").stat().st_size > 12
