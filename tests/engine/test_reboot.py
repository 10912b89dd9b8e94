"""After a power cut: a prefix of what was written, batches whole, and nothing older in its place."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.control import W_BUSY, W_NEXT, Control
from tests.engine.machine import Death, Machine, content, flip, rotate

Open = Callable[..., DB]


class History:
    """A store with what it held after each commit, and where the log then ended."""

    def __init__(self, db: DB) -> None:
        self.db = db
        self.states: list[dict[bytes, bytes]] = [{}]
        self.ends: list[tuple[int, int]] = [self.end()]

    def end(self) -> tuple[int, int]:
        active = self.db.stats().segments[0]
        return active.number, active.log_bytes

    def commit(self, changes: dict[bytes, bytes | None]) -> None:
        with self.db.transaction() as tx:
            for key, value in changes.items():
                if value is None:
                    tx.delete(key)
                else:
                    tx.put(key, value)
        after = self.states[-1] | {key: value for key, value in changes.items() if value is not None}
        self.states.append({key: value for key, value in after.items() if changes.get(key, b"") is not None})
        self.ends.append(self.end())


@pytest.fixture
def history(db: DB) -> History:
    history = History(db)
    chance = random.Random(7)
    for number in range(120):
        keys = [b"%d" % chance.randrange(40) for _ in range(chance.choice((1, 1, 2, 5)))]
        values = {key: b"%d" % number * chance.randrange(1, 30) for key in keys}
        deleted = {key: None for key in history.states[-1] if chance.random() < 0.02}
        history.commit({**values, **deleted})
    assert len({number for number, _ in history.ends}) > 2
    return history


def check(db: DB, state: dict[bytes, bytes]) -> None:
    assert dict(db.scan()) == state
    assert db.get_many([b"%d" % number for number in range(40)] + list(state)) == state
    db.put(b"after", b"v")
    assert db.verify().ok


def cut(path: Path, number: int, offset: int, garbage: bytes = b"") -> None:
    """What the disk kept of a log: nothing from `offset` on, or garbage."""
    with (path / f"{number:06d}.log").open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(garbage)


def power_cut(history: History, machine: Machine) -> None:
    machine.bury(history.db)
    machine.reboot()


def test_nothing_lost_without_damage(history: History, machine: Machine, open_: Open) -> None:
    power_cut(history, machine)
    check(open_(), history.states[-1])


@pytest.mark.parametrize("garbage", [b"", b"\0" * 300, b"\xa5" * 300], ids=["short", "zeros", "garbage"])
def test_a_torn_tail(history: History, machine: Machine, open_: Open, path: Path, garbage: bytes) -> None:
    """Cut at every byte of the last five commits: the state is that of the last whole one."""
    active = history.ends[-1][0]
    ends = [offset for number, offset in history.ends if number == active]
    assert len(ends) > 5
    power_cut(history, machine)
    last = ends[-1]
    kept = content(path)
    for offset in range(last, ends[-5], -19):
        restore(path, kept)
        cut(path, active, offset, garbage)
        db = open_()
        whole = sum(number < active or end <= offset for number, end in history.ends)
        assert dict(db.scan()) == history.states[whole - 1], f"cut at {offset}"
        assert db.verify().ok
        machine.bury(db)


def restore(path: Path, files: dict[str, bytes]) -> None:
    for file in path.iterdir():
        file.unlink()
    for name, data in files.items():
        (path / name).write_bytes(data)


@pytest.mark.parametrize("seed", range(12))
def test_sealed_segments_that_were_not_synced(
    history: History, machine: Machine, open_: Open, path: Path, seed: int
) -> None:
    """A tear in an older segment takes all younger ones along: there are no holes."""
    chance = random.Random(seed)
    commit = chance.randrange(1, len(history.ends) - 1)
    number, end = history.ends[commit]
    if history.ends[commit + 1][0] != number:
        commit -= 1
        number, end = history.ends[commit]
    power_cut(history, machine)
    cut(path, number, end + chance.randrange(1, 28), bytes(chance.randrange(200)))
    check(open_(), history.states[commit])


def test_what_was_synced_is_not_cut(history: History, machine: Machine, open_: Open, path: Path) -> None:
    history.db.sync()
    state = history.states[-1]
    number, end = history.ends[-1]
    history.commit({b"lost": b"v"})
    assert history.ends[-1][0] == number
    power_cut(history, machine)
    cut(path, number, end + 3)
    check(open_(), state)


def test_twice_in_a_row(history: History, machine: Machine, open_: Open, path: Path) -> None:
    """A power cut during the recovery from a power cut, at each of its steps."""
    number, end = history.ends[-4]
    assert history.ends[-1][0] == number
    power_cut(history, machine)
    cut(path, number, end + 9)
    for step in range(60):
        machine.die_after(step)
        try:
            db = open_()
        except Death:
            machine.bury()
            machine.reboot()
        else:
            machine.die_at = None
            break
    else:
        pytest.fail("more steps than tried")
    assert step > 8
    check(db, history.states[-4])


@pytest.mark.parametrize("then", ["same boot", "reboot"])
def test_death_while_the_page_is_begun_anew(
    history: History, machine: Machine, open_: Open, monkeypatch: Any, then: str
) -> None:
    """The page is of this boot already, and its tip still of the boot before."""
    power_cut(history, machine)

    def dies(*_: object) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(Control, "set_active", dies)
        with pytest.raises(Death):
            open_()
    machine.bury()
    if then == "reboot":
        machine.reboot()
    db = open_()
    check(db, history.states[-1])
    db.sync()
    machine.bury(db)
    machine.reboot()
    check(open_(), history.states[-1] | {b"after": b"v"})


@pytest.mark.parametrize("junk", [b"", b"\0" * 30_000, b"\xff" * 30_000])
def test_the_page_and_the_indexes_are_not_believed(
    history: History, machine: Machine, open_: Open, path: Path, junk: bytes
) -> None:
    power_cut(history, machine)
    (path / "CONTROL").write_bytes(junk)
    for index in path.glob("*.idx"):
        index.write_bytes(junk)
    for _ in range(3):
        db = open_()
        check(db, history.states[-1] | ({b"after": b"v"} if b"after" in db else {}))
        assert db.stats().damaged_reads < 10
        db.close()


def test_an_index_that_kept_less_than_its_log(
    history: History, machine: Machine, open_: Open, path: Path
) -> None:
    """A lost Bloom bit would uncover an older version; nothing about the index is believed."""
    history.db.compact()
    for number in range(40):
        history.commit({b"%d" % number: b"newest"})
    machine.bury(history.db)
    machine.reboot()
    for index in path.glob("*.idx"):
        data = bytearray(index.read_bytes())
        data[128:] = bytes(len(data) - 128)
        index.write_bytes(data)
    check(open_(), history.states[-1])


def test_damage_before_a_synced_position_is_logged(
    db: DB, machine: Machine, open_: Open, path: Path, caplog: Any
) -> None:
    db.put(b"a", b"v")
    db.put(b"b", b"v")
    db.sync()
    machine.bury(db)
    machine.reboot()
    flip(path / "000001.log", 72 + 12)
    open_()
    assert "000001.log: byte 72: cut: the chain of sound records breaks" in caplog.text


def test_old_bytes_behind_the_end_are_not_replayed(db: DB, machine: Machine, open_: Open, path: Path) -> None:
    """A log file's blocks may hold what another log held: its records are sound, but not linked to these."""
    db.put(b"a", b"v")
    donor = open_().path / "000001.log"
    tail = donor.read_bytes()[72 : 72 + 30]
    machine.bury(db)
    machine.reboot()
    cut(path, 1, 102, tail + tail)
    check(open_(), {b"a": b"v"})


def delete_a_prefix(db: DB) -> None:
    db.put(b"x", b"v")
    db.delete_prefix(b"x")


@pytest.mark.parametrize(
    ("begin", "keys"),
    [(lambda db: db.put(b"before", b"v"), 1), (delete_a_prefix, 0)],
    ids=["put", "delete_prefix"],
)
def test_what_is_cut_is_not_counted(
    db: DB, machine: Machine, open_: Open, path: Path, begin: Callable[[DB], None], keys: int
) -> None:
    """A manifest that tells of more keys than the log has room for would be refused as damaged."""
    begin(db)
    before = dict(db.scan())
    db.put_many({b"%d" % number: b"" for number in range(50)})
    active = db.stats().segments[0]
    machine.bury(db)
    machine.reboot()
    cut(path, active.number, active.log_bytes - 1)
    db = open_()
    (recovered,) = (each for each in db.stats().segments if each.number == active.number)
    assert recovered.keys == keys
    check(db, before)


def test_a_store_that_was_closed(history: History, machine: Machine, open_: Open) -> None:
    history.db.close()
    machine.reboot()
    check(open_(), history.states[-1])


def test_compacted_segments_are_trusted(history: History, machine: Machine, open_: Open) -> None:
    history.db.compact()
    history.commit({b"1": b"newest"})
    power_cut(history, machine)
    check(open_(), history.states[-1])


def test_counters_begin_anew(db: DB, machine: Machine, open_: Open) -> None:
    """They are sums since the machine started."""
    db.put(b"k", b"v")
    for _ in range(50):
        db.get(b"k")
    machine.bury(db)
    machine.reboot()
    assert open_().stats().hits == 0


def test_reading_only_cannot_recover(db: DB, machine: Machine, open_: Open) -> None:
    db.put(b"k", b"v")
    machine.bury(db)
    machine.reboot()
    machine.may_write = False
    with pytest.raises(stratakv.ReadOnlyError, match="reboot"):
        open_(read_only=True)
    machine.may_write = True
    with open_(read_only=True) as reader:
        assert reader.get(b"k") == b"v"


def test_an_index_that_was_sealed_and_then_written_to_is_not_called_damaged(
    machine: Machine, open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksum is that of an earlier day: every site that was restarted in order would read of damage."""
    db = open_()
    db.put(b"a", b"1")
    db.close()
    db = open_()
    db.put(b"b", b"2")
    db.sync()
    machine.bury(db)
    machine.reboot()
    assert dict(open_().scan()) == {b"a": b"1", b"b": b"2"}
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("left", ["closed", "open", "in a commit"])
def test_a_file_system_that_lost_what_was_not_synced(
    open_: Open, path: Path, machine: Machine, left: str
) -> None:
    """It turned read-only after an error and was unmounted, within one boot: the log alone is the last."""
    with open_(durability="always", segment_bytes=2**20) as db:
        db.put(b"key", b"old")
    written = [path / "CONTROL", path / "000001.idx"]
    on_disk = [file.read_bytes() for file in written]
    db = open_(durability="always", segment_bytes=2**20)
    if left != "closed":
        db.put(b"key", b"newer")
        words = db._store.control.words
        words[W_BUSY] = left == "in a commit"
        on_disk = [file.read_bytes() for file in written]
        words[W_BUSY] = 0
    db.put(b"key", b"new")
    db.put(b"another", b"v")
    machine.bury(db)
    for file, data in zip(written, on_disk, strict=True):
        file.write_bytes(data)
    with open_(durability="always", segment_bytes=2**20) as db:
        check(db, {b"key": b"new", b"another": b"v"})
        assert db.verify().ok


def test_a_log_that_lost_its_tail_while_control_was_written(
    open_: Open, path: Path, machine: Machine
) -> None:
    """The other way round: a prefix is there, and not damage that hides what was before."""
    db = open_(segment_bytes=2**20)
    db.put(b"key", b"old")
    kept = db.stats().segments[0].log_bytes
    db.put(b"key", b"new")
    db.put(b"another", b"v")
    machine.bury(db)
    with (path / "000001.log").open("r+b") as log:
        log.seek(kept)
        log.write(bytes(1000))
    with open_(segment_bytes=2**20) as db:
        check(db, {b"key": b"old"})


def test_a_put_over_a_key_whose_filter_bits_were_lost_is_found(
    open_: Open, path: Path, machine: Machine
) -> None:
    """The log is damaged, so that the index cannot be made anew."""
    db = open_(segment_bytes=2**20)
    db.put(b"key", b"oldest")
    rotate(db)
    damaged = db.stats().segments[0].log_bytes
    db.put(b"damaged", b"v")
    db.put(b"key", b"old")
    number, shape = db._store.structure.view.active.number, db._store.structure.view.active.arrays.shape
    machine.bury(db)
    flip(path / f"{number:06d}.log", damaged + 30)
    with (path / f"{number:06d}.idx").open("r+b") as file:
        file.seek(shape.bloom_offset)
        file.write(bytes(shape.hot_offset - shape.bloom_offset))
    with open_(segment_bytes=2**20) as db:
        db.put(b"key", b"new")
        assert db.get(b"key") == b"new"


@pytest.mark.parametrize("begun", ["as a whole", "but for CONTROL"])
@pytest.mark.parametrize("lost", ["log", "idx"])
def test_a_segment_of_which_nothing_was_synced(
    open_: Open, path: Path, machine: Machine, lost: str, begun: str
) -> None:
    """The manifest names it, which was."""
    db = open_()
    db.put(b"key", b"v")
    words = db._store.control.words
    before = words.tolist()
    rotate(db)
    if begun == "but for CONTROL":
        before[W_BUSY], before[W_NEXT] = 1, words[W_NEXT]
        for place, word in enumerate(before):
            words[place] = word
    machine.bury(db)
    file = path / f"000002.{lost}"
    file.write_bytes(bytes(file.stat().st_size))
    with open_() as db:
        check(db, {b"key": b"v"})
