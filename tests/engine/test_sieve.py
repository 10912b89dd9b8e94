"""The sieve: what it lets through, when it is made, and when it is not believed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, lookup
from stratakv.files import Files
from stratakv.index import W_CHECKSUM, hash_key
from stratakv.maintenance import plan, tasks
from stratakv.maintenance.room import Room
from stratakv.sieve import LANES, Sieve, bits_for, size_of
from stratakv.view import View
from tests.engine.machine import Death, Machine, flip, in_time

Open = Callable[..., DB]
Store = tuple[DB, dict[bytes, bytes]]  # and what it holds
BUDGET = 2**20
KEYS = 2_000


def first(key: bytes) -> int:
    half: int = hash_key(key)[0]
    return half


def keys_of(name: str, count: int) -> list[bytes]:
    return [sha256(b"%s %d" % (name.encode(), number)).digest() for number in range(count)]


class TestTable:
    def made(self, segments: int, keys: int) -> tuple[Sieve, list[list[bytes]], bytearray]:
        bits = bits_for(keys, 2**40)
        buffer = bytearray(size_of(bits))
        sieve = Sieve(buffer)
        sieve.start(bits)
        held = [keys_of(str(lane), keys) for lane in range(segments)]
        for lane, keys_held in enumerate(held):
            sieve.add(lane + 7, lane + 2**31, [0, *map(first, keys_held), 0])
        sieve.seal()
        return sieve, held, buffer

    @pytest.mark.parametrize(("segments", "keys"), [(1, 1), (8, 100), (LANES, 3_000)])
    def test_every_key_of_a_segment_passes(self, segments: int, keys: int) -> None:
        sieve, held, buffer = self.made(segments, keys)
        for found in (sieve, Sieve(buffer)):
            assert found.is_sound()
            for lane, keys_held in enumerate(held):
                bit = found.lanes[lane + 7, lane + 2**31]
                assert all(found.table[first(key) >> found.shift] & bit for key in keys_held)

    def test_few_others_do(self) -> None:
        sieve, _, _ = self.made(10, 3_000)
        passed = [sieve.table[first(key) >> sieve.shift].bit_count() for key in keys_of("absent", 3_000)]
        assert sum(passed) < 10 * 3_000 / 16

    def test_what_was_changed_is_not_sound(self) -> None:
        _, _, buffer = self.made(3, 20)
        for place in range(len(buffer)):
            buffer[place] ^= 1
            believed = Sieve(buffer).is_sound()
            assert not believed or 40 <= place < 64, "words that have no meaning"
            buffer[place] ^= 1

    def test_what_is_none_is_not_sound(self) -> None:
        assert not Sieve(bytearray(size_of(8))).is_sound()
        _, _, buffer = self.made(3, 20)
        assert not Sieve(buffer[:-8]).is_sound()
        assert not Sieve(buffer + bytes(8)).is_sound()

    @pytest.mark.parametrize(("keys", "bits"), [(0, 8), (1, 8), (1000, 14), (2**19, 24), (10**9, 24)])
    def test_its_size_follows_the_keys_and_is_bounded(self, keys: int, bits: int) -> None:
        assert bits_for(keys, 2**40) == bits


@pytest.fixture(autouse=True)
def _few_keys_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MANY_KEYS", 500)


def view_of(db: DB) -> View:
    return db._store.structure.current()


def sieved_by(db: DB) -> set[int]:
    """Return the numbers of the segments that lookups leave to the sieve."""
    older = view_of(db).older
    return older.sieved if older else set()


def fill(db: DB, name: str = "k", keys: int = KEYS, size: int = 100) -> dict[bytes, bytes]:
    model = {key: os.urandom(size) for key in keys_of(name, keys)}
    for number, (key, value) in enumerate(model.items()):
        db.put(key, value)
        if number % 100 == 0:
            db.maintain()
    db.maintain()
    return model


@pytest.fixture
def sieved(open_: Open) -> Store:
    """A store that has a sieve of most of its segments, and what it holds."""
    db = open_(max_bytes=BUDGET)
    model = fill(db)
    assert len(sieved_by(db)) >= 8
    return db, model


@pytest.fixture
def due(open_: Open, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that is to get a sieve as the next thing, and what it holds."""
    db = open_(max_bytes=BUDGET)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "_MANY", 100)
        return db, fill(db)


def answers(db: DB, model: dict[bytes, bytes]) -> None:
    """Ask for every key in each way, and for as many that are not there."""
    absent = keys_of("absent", 500)
    assert db.get_many([*model, *absent]) == model
    for key, value in model.items():
        assert db.get(key) == value
        assert key in db
    for key in absent:
        assert db.get(key) is None
        assert key not in db


def test_lookups_ask_few_segments(sieved: Store) -> None:
    db, _ = sieved
    view = view_of(db)
    assert view.older
    asked = [len(view.older.of(first(key))) for key in keys_of("absent", 500)]
    known = len(sieved_by(db))
    assert known >= 8
    assert sum(asked) / len(asked) < len(view.older.all) - known + 2


def test_the_active_segment_is_always_asked(sieved: Store) -> None:
    db, _ = sieved
    view = view_of(db)
    buffer = bytearray(size_of(8))
    sieve = Sieve(buffer)
    sieve.start(8)
    for segment in view.segments():
        sieve.add(segment.number, segment.arrays.header[W_CHECKSUM], [])
    candidates = lookup.Candidates(view.segments(), sieve)
    assert [segment for _, _, segment in candidates.of(first(b"k"))] == [view.active]


@pytest.mark.parametrize("turned", [False, True])
def test_segments_are_asked_in_their_order(sieved: Store, turned: bool) -> None:
    """Also by a sieve that has its lanes in another one: that knows nothing then."""
    db, _ = sieved
    view = view_of(db)
    sieve = Sieve(bytearray(size_of(8)))
    sieve.start(8)
    for segment in view.sealed[::-2] if turned else view.sealed[::2]:  # and others between them
        sieve.add(segment.number, segment.arrays.header[W_CHECKSUM], [2**64 - 1])
    candidates = lookup.Candidates(view.segments(), sieve)
    assert [segment for _, _, segment in candidates.of(2**64 - 1)] == list(view.segments())
    asked = [segment for _, _, segment in candidates.of(0)]
    assert asked == [segment for segment in view.segments() if segment.number not in candidates.sieved]
    assert len(candidates.sieved) == (1 if turned else len(view.sealed[::2]))


def test_everything_is_found_as_segments_come_and_go(sieved: Store) -> None:
    db, model = sieved
    chosen = random.Random(5)
    for number in range(1_500):
        key = chosen.choice(list(model))
        kind = chosen.randrange(4)
        if kind == 0:
            assert db.delete(key)
            del model[key]
        else:
            db.put(key, value := os.urandom(60))
            model[key] = value
        if number % 250 == 0:
            answers(db, model)
            db.maintain()
            answers(db, model)
    db.delete_prefix(b"\x00")
    model = {key: value for key, value in model.items() if key[:1] != b"\x00"}
    answers(db, model)
    assert dict(db.scan()) == model
    db.compact()
    assert {segment.number for segment in view_of(db).sealed} == sieved_by(db)
    answers(db, model)
    assert db.verify().ok


def test_what_is_evicted_and_comes_back_is_found(open_: Open) -> None:
    db = open_(max_bytes=BUDGET)
    fill(db, "first", 6_000)
    last = fill(db, "second", 300)
    assert db.stats().evicted_keys
    assert sieved_by(db)
    answers(db, last)
    assert db.verify().ok


def test_another_process_takes_it(sieved: Store, path: Path) -> None:
    _, model = sieved
    with stratakv.open(path, read_only=True) as other:
        assert sieved_by(other)
        answers(other, model)


def test_it_is_there_after_the_store_was_closed(sieved: Store, open_: Open, machine: Machine) -> None:
    db, model = sieved
    db.close()
    db = open_()
    assert sieved_by(db)
    answers(db, model)
    machine.bury(db)
    machine.reboot()
    db = open_()
    answers(db, model)


def test_that_of_another_store_is_not_asked(tmp_path: Path) -> None:
    """Its segments have the same numbers, and other keys."""

    def opened(name: str) -> DB:
        return stratakv.open(tmp_path / name, max_bytes=BUDGET, maintenance="manual", durability="os")

    with opened("first") as first_store, opened("second") as second:
        fill(first_store, "first")
        model = fill(second, "second")
        assert sieved_by(first_store) & {segment.number for segment in view_of(second).sealed}
    shutil.copy(tmp_path / "first" / "SIEVE", tmp_path / "second" / "SIEVE")
    with opened("second") as second:
        assert view_of(second).sieve
        assert not sieved_by(second)
        answers(second, model)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "huge", "removed"])
def test_a_damaged_one_is_not_used_and_made_anew(
    sieved: Store, open_: Open, path: Path, damage_log: list[str], damage: str
) -> None:
    db, model = sieved
    db.close()
    file = path / "SIEVE"
    if damage == "flipped":
        data = bytearray(file.read_bytes())
        data[-4_000:] = bytes(4_000)  # as if the segments had hardly any keys
        file.write_bytes(data)
    elif damage == "removed":
        file.unlink()
    else:
        os.truncate(file, {"empty": 0, "cut": 9, "huge": 2**33}[damage])
    db = open_()
    assert not sieved_by(db)
    assert bool(damage_log) == (damage == "flipped")
    answers(db, model)
    assert db.verify().ok
    db.maintain()
    assert sieved_by(db)
    answers(db, model)


def test_a_sound_one_in_the_place_of_a_damaged_one_is_used(sieved: Store, open_: Open, path: Path) -> None:
    """It may have the same inode: nobody has mapped the damaged one, so that is free when it has gone."""
    db, _ = sieved
    db.close()
    file = path / "SIEVE"
    sound = file.read_bytes()
    file.write_bytes(bytes(len(sound)))
    os.utime(file, (1, 1))
    db = open_()
    assert not sieved_by(db)
    file.write_bytes(sound)
    db.put(b"large", bytes(BUDGET // 8))  # a new segment, and so a new view
    assert sieved_by(db)


def test_a_damaged_index_is_made_anew_first(due: Store, damage_log: list[str]) -> None:
    """What it has lost would be missing in the sieve, too, and whatever was read there must not go."""
    db, model = due
    segment = view_of(db).sealed[-1]
    lost = next(key for key in model if segment.leads_to(key, 1))
    (place,) = (place for place, slot in enumerate(segment.slots) if slot >> 40 == first(lost) >> 40)
    segment.slots[place] = 0
    db.maintain()
    assert len(damage_log) == 1
    assert segment.number in sieved_by(db)
    answers(db, model)


def test_a_log_that_is_damaged_as_well_is_left_out(due: Store, damage_log: list[str]) -> None:
    db, model = due
    segment = view_of(db).sealed[-1]
    segment.slots[0] ^= 2**30
    flip(segment.path, segment.start + 60)
    with pytest.raises(stratakv.CorruptionError, match="index is damaged"):
        db.maintain()
    assert damage_log
    assert sieved_by(db)
    assert segment.number not in sieved_by(db)
    assert db.get_many(model).items() <= model.items()


def test_an_older_copy_is_put_back(
    open_: Open, monkeypatch: pytest.MonkeyPatch, path: Path, tmp_path: Path
) -> None:
    """The sieve stays, and its segments are those that are written to once more, by the same numbers."""
    db = open_(max_bytes=BUDGET)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "_MANY", 100)
        old = fill(db, keys=1_000)
        db.close()
        shutil.copytree(path, tmp_path / "copy")
        db = open_()
        fill(db, "later", 1_000)
    db.maintain()
    assert sieved_by(db)
    db.close()
    shutil.copytree(tmp_path / "copy", path, dirs_exist_ok=True)
    db = open_()
    model = old | fill(db, "other", 300) | fill(db, "k", 200)
    answers(db, model)
    answers(db, model | fill(db, "more", 500))


def test_it_goes_where_the_budget_becomes_too_small_for_it(open_: Open, path: Path) -> None:
    with open_(max_bytes=16 * BUDGET) as db:
        fill(db, keys=60_000, size=0)
        assert (path / "SIEVE").stat().st_size > BUDGET // 8
    db = open_(max_bytes=BUDGET)
    db.maintain()
    model = fill(db, "new", 1_000)
    assert not (path / "SIEVE").exists() or (path / "SIEVE").stat().st_size <= BUDGET // 32
    answers(db, model)
    assert db.stats().disk_bytes <= BUDGET


def test_large_blocks_of_the_disk_make_it_no_larger(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system of 64 KiB blocks, or in memory with large pages: it would come and go for ever."""
    real = Files.allocated
    monkeypatch.setattr(Files, "allocated", lambda self, path: max(real(self, path), 2**17))
    db = open_(max_bytes=BUDGET)
    with in_time(60):
        model = fill(db)
    assert sieved_by(db)
    answers(db, model)


@pytest.mark.parametrize("gone", ["cleared", "without a budget"])
def test_it_goes_with_what_it_is_of(sieved: Store, open_: Open, path: Path, gone: str) -> None:
    db, _ = sieved
    if gone == "cleared":
        db.clear()
    else:
        db.close()
        db = open_(max_bytes=0)
        db.compact()
    db.maintain()
    assert not (path / "SIEVE").exists()
    assert not sieved_by(db)


def test_nothing_goes_to_make_room_for_it(due: Store, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    db, model = due
    real = tasks.Tasks._sieve

    def late(self: Any, *arguments: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Room, "left", lambda *_: 0)
            real(self, *arguments)
        monkeypatch.setattr(plan, "_MANY", 100)

    monkeypatch.setattr(tasks.Tasks, "_sieve", late)
    db.maintain()
    assert not list(path.glob("SIEVE*"))
    answers(db, model)


def test_what_ends_it_early_leaves_nothing_behind(due: Store, path: Path) -> None:
    db, model = due

    def stop(done: int, total: int) -> None:
        if (path / "SIEVE.tmp").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.compact(progress=stop)
    assert not list(path.glob("SIEVE*"))
    answers(db, model)


def test_a_store_without_a_budget_has_none(open_: Open, path: Path) -> None:
    fill(open_(segment_bytes=2**15))
    assert not (path / "SIEVE").exists()


def test_a_small_store_has_none(open_: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the place of what is to be kept."""
    monkeypatch.undo()
    fill(open_(max_bytes=BUDGET // 4))
    assert not (path / "SIEVE").exists()


def test_a_death_while_it_is_made_leaves_nothing_behind(
    due: Store, open_: Open, machine: Machine, path: Path
) -> None:
    db, model = due
    for steps in range(1, 1_000):
        machine.die_after(steps)
        try:
            db.maintain()
        except Death:
            machine.bury(db)
            db = open_()
            answers(db, model)
        else:
            break
    assert steps > 4
    assert sieved_by(db)
    answers(db, model)
    assert not list(path.glob("*.tmp"))
    assert db.verify().ok
