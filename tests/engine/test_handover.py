"""What a segment that ends early hands over to the next, as each `delete_prefix` begins one."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import stratakv
from stratakv import DB, handover
from stratakv.control import W_BUSY, Control
from tests.engine.conftest import Open
from tests.engine.machine import Death, Machine, flip, in_time


def logs(path: Path) -> list[str]:
    return sorted(file.name for file in path.glob("*.log"))


def active(db: DB) -> Path:
    return db._store.structure.view.active.path


@pytest.fixture
def db(db: DB) -> DB:
    """In a sealed segment, older versions of what is in the short one."""
    db.put_many({b"deleted": b"old", b"written": b"old", b"p/0": b"old", b"q/0": b"old", b"kept": b"old"})
    db.compact()
    db.delete(b"deleted")
    db.put(b"written", b"first")
    db.put(b"written", b"new")
    db.put(b"ends", b"new", ttl=1000)
    db.put_many({b"p/1": b"new", b"q/1": b"new"})
    return db


LEFT = {b"written": b"new", b"ends": b"new", b"q/0": b"old", b"q/1": b"new", b"kept": b"old"}


def test_many_prefixes_leave_few_segments(db: DB) -> None:
    for number in range(200):
        db.put_many({b"user/%d/%d" % (number, page): b"v" for page in range(3)})
        db.put(b"page/%d" % number, b"v")
        db.delete_prefix(b"user/%d/" % number)
    assert len(db.stats().segments) < 10
    assert db.get_many([b"page/%d" % number for number in range(200)]).keys() == set(db.keys(b"page/"))
    assert len(list(db.keys(b"page/"))) == 200
    assert not list(db.keys(b"user/"))
    assert db.verify().ok


def test_a_cache_that_is_filled_and_cleared_again_and_again_is_one_segment(db: DB, open_: Open) -> None:
    for _ in range(20):
        db.put_many({b"p/%d" % number: bytes(100) for number in range(20)})
        db.delete(b"p/0")
        db.delete_prefix(b"p/")
    assert len(db.stats().segments) == 2
    db.close()
    db = open_()
    assert dict(db.scan()) == LEFT
    assert db.verify().ok


def test_what_is_not_deleted_is_handed_over(db: DB, path: Path) -> None:
    left = db.ttl(b"ends")
    age = db.stats().age
    db.delete_prefix(b"p/")
    assert len(logs(path)) == 2
    assert dict(db.scan()) == {key: db.get(key) for key in list(db.keys())} == LEFT
    assert b"deleted" not in db
    assert db.ttl(b"ends") == pytest.approx(left, abs=60)
    assert db.stats().age >= age
    db.put(b"p/1", b"newer")
    assert dict(db.scan()) == {**LEFT, b"p/1": b"newer"}


def test_a_segment_made_for_more_than_the_next_one_has_no_more_keys_than_that_takes(open_: Open) -> None:
    """As the one is that `recover` begins: a table without an empty slot would be probed for ever."""
    open_(segment_bytes=2**26).close()
    db = open_(segment_bytes=4096)
    model = {b"%d" % number: b"v" for number in range(1400)}
    db.put_many(model)
    with in_time():
        db.delete_prefix(b"p/")
    db.put(b"more", b"v")
    assert dict(db.scan()) == {**model, b"more": b"v"}
    assert db.get(b"absent") is None


def test_range_tombstones_are_handed_over_but_for_what_the_new_one_covers(db: DB) -> None:
    for prefix in (b"p/0", b"q/", b"p/"):
        db.delete_prefix(prefix)
    assert db._store.structure.view.active.ranges == (b"q/", b"p/")
    assert list(db.keys()) == [b"kept", b"written", b"ends"]


def test_it_is_all_there_after_the_end_of_the_process_and_after_a_reboot(
    db: DB, open_: Open, machine: Machine
) -> None:
    db.delete_prefix(b"p/")
    machine.bury(db)
    db = open_()
    assert dict(db.scan()) == LEFT
    db.put(b"written", b"newest")
    db.close()
    machine.reboot()
    db = open_()
    assert dict(db.scan()) == {**LEFT, b"written": b"newest"}
    assert b"deleted" not in db


def test_what_was_read_is_known_of_it(open_: Open) -> None:
    db = open_(max_bytes=2**23, segment_bytes=2**26)
    db.put(b"read", b"v")
    db.put(b"not read", b"v")
    db.get(b"read")
    db.delete_prefix(b"x")
    assert sorted(db._store.structure.view.active.hot)[-2:] == [0, 1]


def test_what_is_handed_over_counts_as_written_once(db: DB) -> None:
    before = db.stats()
    db.delete_prefix(b"p/")
    after = db.stats()
    ranges = 72 + 28 + 2
    assert after.bytes_written - before.bytes_written == ranges
    assert after.rewritten_bytes - before.rewritten_bytes == after.segments[0].log_bytes - ranges


@pytest.mark.parametrize("many", ["bytes", "keys", "left", "ranges"])
def test_a_segment_with_too_much_stays(
    db: DB, path: Path, monkeypatch: pytest.MonkeyPatch, many: str
) -> None:
    db.delete_prefix(b"none")
    db.put(b"more", b"v")
    monkeypatch.setattr(handover, f"_MOST_{many.upper()}", 1)
    before = logs(path)
    db.delete_prefix(b"p/")
    assert set(before) < set(logs(path))
    assert dict(db.scan()) == {**LEFT, b"more": b"v"}


def test_a_segment_of_long_range_tombstones_stays(db: DB, path: Path) -> None:
    """Else each call would write those before it again."""
    db.delete_prefix(b"none" * 500)
    before = logs(path)
    db.delete_prefix(b"more" * 500)
    assert set(before) < set(logs(path))


def test_a_damaged_segment_stays(db: DB, path: Path) -> None:
    """Else what is damaged would uncover what it hides, and nobody would be told."""
    flip(active(db), 72 + 28)
    db.delete_prefix(b"p/")
    assert len(logs(path)) == 3
    assert db.get(b"deleted") is None
    assert not db.verify().ok


def test_a_writer_dies_before_others_may_see_the_tip(
    db: DB, open_: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new segment is the one of now, and what it began with counts."""

    def die(*_: object) -> None:
        raise Death

    with open_(read_only=True) as reader:
        with monkeypatch.context() as here:
            here.setattr(Control, "set_active", die)
            with pytest.raises(Death):
                db.delete_prefix(b"p/")
        assert dict(reader.scan()) == reader.get_many(LEFT) == LEFT
        assert dict(db.scan()) == LEFT
        db.put(b"written", b"newest")
        assert dict(reader.scan()) == {**LEFT, b"written": b"newest"}


@pytest.mark.parametrize("steps", range(20))
def test_a_power_cut_on_the_way_and_no_manifest_is_left(
    db: DB, open_: Open, machine: Machine, path: Path, steps: int
) -> None:
    """A log that holds a part of what it was to take over replaces nothing."""
    db.sync()
    begun, new = len(machine.steps), path / "000004.log"
    machine.die_after(steps)
    with suppress(Death):
        db.delete_prefix(b"p/")
    assert ("rename", path / "MANIFEST.tmp") in machine.steps[begun:] or steps < 19
    if new.exists() and ("fdatasync", new) not in machine.steps[begun:]:
        with new.open("r+b") as log:
            log.truncate(72 + 28 + 2 + 40)
    machine.bury(db)
    machine.reboot()
    for file in [*path.glob("MANIFEST*"), *path.glob("*.idx"), path / "CONTROL"]:
        file.unlink(missing_ok=True)
    stratakv.recover(path)
    found = dict(open_().scan())
    assert found in (LEFT, {**LEFT, b"p/0": b"old", b"p/1": b"new"})


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("steps", range(20))
def test_a_writer_that_died_on_the_way_is_no_damage(
    db: DB, open_: Open, machine: Machine, path: Path, steps: int, reboot: bool
) -> None:
    """The log that it has begun has records, and the manifest does not know it; but they are in another."""
    machine.die_after(steps)
    with suppress(Death):
        db.delete_prefix(b"p/")
    machine.bury(db)
    if reboot:
        machine.reboot()
    assert not stratakv.recover(path, mode="strict").damage
    assert dict(open_().scan()) in (LEFT, {**LEFT, b"p/0": b"old", b"p/1": b"new"})


def test_nor_is_one_whose_range_tombstone_a_power_cut_has_torn(db: DB, machine: Machine, path: Path) -> None:
    db.compact()  # there is nothing to take over
    machine.die_after(2)
    with suppress(Death):
        db.delete_prefix(b"p/")
    machine.bury(db)
    machine.reboot()
    with (path / logs(path)[-1]).open("r+b") as begun:
        begun.truncate(72 + 28 + 1)
    assert not stratakv.recover(path, mode="strict").damage


@pytest.mark.parametrize("steps", range(4, 16))
def test_a_segment_that_was_begun_in_vain_hides_nothing_that_comes_after(
    db: DB, open_: Open, machine: Machine, path: Path, steps: int
) -> None:
    """Whoever goes on removes it: without a manifest, it would be newer than what is written from then on."""
    machine.die_after(steps)
    with suppress(Death):
        db.delete_prefix(b"p/")
    machine.dead, machine.die_at = False, None
    later = {b"p/1": b"later", b"written": b"later"}
    db.put_many(later)
    left = {**dict(db.scan()), **later}
    machine.bury(db)
    for file in [*path.glob("MANIFEST*"), *path.glob("*.idx"), path / "CONTROL"]:
        file.unlink(missing_ok=True)
    stratakv.recover(path)
    assert dict(open_().scan()) == left


def test_an_older_manifest_is_no_reason_to_remove_what_was_written(db: DB, path: Path) -> None:
    older = (path / "MANIFEST").read_bytes()
    db.delete_prefix(b"p/")
    db.put(b"later", b"v")
    written = active(db)
    (path / "MANIFEST").write_bytes(older)
    db._store.control.words[W_BUSY] = 1
    for _ in range(2):
        with suppress(stratakv.StrataKVError):
            db.put(b"k", b"v")
    assert written.exists()


def test_what_was_written_after_that_is_missed(db: DB, open_: Open, path: Path) -> None:
    """An older manifest than the last one is damage, also where the unknown log took records over."""
    older = (path / "MANIFEST").read_bytes(), (kept := active(db)).read_bytes()
    db.delete_prefix(b"p/")
    db.put(b"later", b"v")
    db.close()
    (path / "MANIFEST").write_bytes(older[0])
    kept.write_bytes(older[1])
    (path / "CONTROL").unlink()
    with pytest.raises(stratakv.CorruptionError, match="the manifest does not know it yet"):
        stratakv.recover(path, mode="strict")


def test_the_log_that_was_replaced_comes_to_light_again(open_: Open, path: Path) -> None:
    """As after a power cut that took its removal; it is void, also where the manifest is lost."""
    db = open_()
    db.put_many({b"k": b"v", b"l": b"v"})
    old = active(db)
    shutil.copy(old, path / "copy")
    db.delete_prefix(b"p/")
    db.delete(b"k")
    db.compact()  # nothing is left that says that it was deleted
    db.close()
    shutil.move(path / "copy", old)
    for file in path.glob("MANIFEST*"):
        file.unlink()
    stratakv.recover(path)
    assert dict(open_().scan()) == {b"l": b"v"}
