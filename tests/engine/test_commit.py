"""A process that dies inside a commit, at any step: what was acknowledged stays, and the next one goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, ClosedError, StrataKVError, commit, control, writer_lock
from stratakv.control import W_BUSY, W_CHAIN, W_INDEXED, W_TIP, W_USED
from stratakv.locks import FileLock
from tests.engine.machine import Death, Machine, in_time
from tests.support.waiting import wait_until

Open = Callable[..., DB]


@pytest.fixture(params=["same", "fresh"])
def who(request: pytest.FixtureRequest) -> str:
    """Another process that was there all the time, or one that opens the store now.

    In one process both are this one, with or without what it knew.
    """
    return str(request.param)


@pytest.fixture
def go_on(who: str, machine: Machine, open_: Open) -> Callable[[DB], DB]:
    def go_on(db: DB) -> DB:
        if who == "same":
            machine.dead, machine.die_at = False, None
            return db
        machine.bury(db)
        return open_()

    return go_on


def check(db: DB, *models: dict[bytes, bytes]) -> None:
    """The store holds one of `models`, by every way of reading it, and goes on working."""
    with in_time():
        found = dict(db.scan())
        assert found in models
        assert db.get_many([b"absent", *found]) == found
        assert {key: db.get(key) for key in found} == found
        assert sorted(db.keys()) == sorted(found)
        db.put(b"after", b"v")
        for number in range(200):
            db.put(b"more %d" % number, b"v")
        db.delete_prefix(b"more")
        assert dict(db.scan()) == found | {b"after": b"v"}
        db.sync()
        assert db.verify().damage == ()


class Dying:
    """An array in shared memory that the process dies at writing."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getitem__(self, place: Any) -> Any:
        return self._real[place]

    def __len__(self) -> int:
        return len(self._real)

    def __setitem__(self, place: Any, value: Any) -> None:
        raise Death


FIRST = {b"a": b"1", b"b": b"2"}
BATCH = {b"a": b"new", b"c": b"3", b"d": b"4"}


@pytest.fixture
def filled(db: DB) -> DB:
    db.put_many(FIRST)
    return db


@pytest.mark.parametrize("share", [0, 1, 11, 12, 40, 63, 92])
def test_death_while_the_log_is_written(
    filled: DB, monkeypatch: Any, go_on: Any, who: str, share: int
) -> None:
    """Whatever part of the batch reached the log: none of it is there, but of a whole one if all died."""
    files = filled._store.directory.files
    real = files.write_all

    def write_all(fd: int, data: bytes, offset: int) -> None:
        real(fd, data[:share], offset)
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", write_all)
        with pytest.raises(Death):
            filled.put_many(BATCH)
    check(go_on(filled), FIRST | BATCH if share == 92 and who == "fresh" else FIRST)


@pytest.mark.parametrize("then", ["nothing", "a write"])
def test_a_stale_tail_is_never_replayed(
    filled: DB, machine: Machine, monkeypatch: Any, open_: Open, then: str
) -> None:
    """A whole commit behind the tip, which nobody ever saw, does not appear after a reboot."""
    files = filled._store.directory.files
    real = files.write_all

    def write_all(fd: int, data: bytes, offset: int) -> None:
        real(fd, data, offset)
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", write_all)
        with pytest.raises(Death):
            filled.put_many({b"stale": b"v", b"staler": b"v"})
    with filled.transaction():
        pass  # whoever holds the lock next cuts it off
    if then == "a write":
        filled.put(b"new", b"v")
    machine.bury(filled)
    machine.reboot()
    check(open_(), FIRST | ({b"new": b"v"} if then == "a write" else {}))


WRITES: dict[str, Callable[[DB], object]] = {
    "put": lambda db: db.put(b"a", b"new"),
    "put of a new key": lambda db: db.put(b"c", b"3"),
    "put_many": lambda db: db.put_many(BATCH),
    "delete": lambda db: db.delete(b"a"),
}
AFTER = {
    "put": FIRST | {b"a": b"new"},
    "put of a new key": FIRST | {b"c": b"3"},
    "put_many": FIRST | BATCH,
    "delete": {b"b": b"2"},
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("reached", ["log", "tip", "slots", "chain", "indexed"])
def test_death_between_the_steps(filled: DB, go_on: Any, who: str, write: str, reached: str) -> None:
    """The commit is taken back to where it stood after `reached`, as `busy` says it has not ended.

    What has only reached the log is there if all died: it may as well be what `CONTROL` has forgotten.
    """
    active, words = filled._store.structure.view.active, filled._store.control.words
    kept = {"slots": active.slots.tolist(), "bloom": active.bloom.tolist(), "words": words.tolist()}
    WRITES[write](filled)
    undone = {"log": [W_TIP, W_CHAIN, W_INDEXED, W_USED], "indexed": [], "chain": [W_INDEXED]}
    for word in undone.get(reached, [W_CHAIN, W_INDEXED, W_USED]):
        words[word] = kept["words"][word]
    if reached in ("log", "tip"):
        for place, slot in enumerate(kept["slots"]):
            active.slots[place] = slot
        for place, word in enumerate(kept["bloom"]):
            active.bloom[place] = word
    words[W_BUSY] = 1
    check(go_on(filled), FIRST if (reached, who) == ("log", "same") else AFTER[write])


def test_death_between_a_slot_and_its_count(filled: DB, go_on: Any) -> None:
    """A merge is sized by the count of keys, so that must not stay one too low."""
    words = filled._store.control.words
    filled.put(b"c", b"3")
    words[W_USED] -= 1
    words[W_BUSY] = 1
    db = go_on(filled)
    with db.transaction():
        pass  # whoever holds the lock next mends it
    assert db.stats().keys == 3


def dies(*_: object) -> None:
    raise Death


@pytest.mark.parametrize("done", [0, 1, 2])
def test_death_between_the_slots(filled: DB, monkeypatch: Any, go_on: Any, done: int) -> None:
    """The tip covers the batch: all of it is there, though the index had only a part."""
    real, left = commit.insert, iter(range(done))

    def insert(*arguments: Any) -> None:
        if next(left, None) is None:
            raise Death
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "insert", insert)
        with pytest.raises(Death):
            filled.put_many(BATCH)
    check(go_on(filled), FIRST | BATCH)


@contextmanager
def dying_at(segment: Any, array: str) -> Iterator[None]:
    """The process dies when it writes to one of the segment's arrays."""
    real = getattr(segment, array)
    setattr(segment, array, Dying(real))
    try:
        with pytest.raises(Death):
            yield
    finally:
        setattr(segment, array, real)


@pytest.mark.parametrize("write", ["put", "put_many"])
@pytest.mark.parametrize("array", ["slots", "bloom"])
def test_death_inside_one_slot(filled: DB, go_on: Any, array: str, write: str) -> None:
    """Neither a slot without its Bloom bits nor the bits without a slot may hide what comes later."""
    with dying_at(filled._store.structure.view.active, array):
        filled.put(b"c", b"3") if write == "put" else filled.put_many({b"c": b"3"})
    db = go_on(filled)
    assert db.get(b"a") == b"1"
    db.put(b"a", b"1")
    check(db, FIRST | {b"c": b"3"})
    db.put(b"c", b"4")
    assert db.get(b"c") == b"4"


@pytest.mark.parametrize(
    "operation", [lambda db: db.delete(b"new"), lambda db: not db.add(b"new", b"ours")], ids=["delete", "add"]
)
def test_what_is_not_indexed_is_not_missing(filled: DB, operation: Callable[[DB], bool]) -> None:
    """`scan` goes by the tip, and so shows what a lookup does not find yet."""
    with dying_at(filled._store.structure.view.active, "slots"):
        filled.put(b"new", b"theirs")
    assert dict(filled.scan()) == FIRST | {b"new": b"theirs"}
    assert operation(filled)


@pytest.mark.parametrize("write", ["put", "put_many"])
@pytest.mark.parametrize("array", ["slots", "bloom"])
def test_an_older_version_does_not_show_instead(db: DB, go_on: Any, array: str, write: str) -> None:
    """The key's Bloom bits are missing in the newest segment; an older one has an older value."""
    db.put(b"k", b"old")
    db.compact()
    with dying_at(db._store.structure.view.active, array):
        db.put(b"k", b"new") if write == "put" else db.put_many({b"k": b"new"})
    db = go_on(db)
    db.put(b"k", b"newest")
    assert db.get(b"k") == b"newest"


@pytest.mark.parametrize(
    "write",
    [lambda writer: writer.put(b"k", b"v"), lambda writer: writer.delete(b"k")],
    ids=["put", "delete"],
)
def test_a_write_that_comes_after_the_close(db: DB, write: Callable[[Any], Any]) -> None:
    """Of a thread that was on its way: it has no lock to write under."""
    db.put(b"k", b"there")
    writer = db._store.writer
    db.close()
    with pytest.raises(ClosedError):
        write(writer)


def test_a_close_waits_for_the_commit_of_another_thread(db: DB) -> None:
    committer = db._store.committer
    closing = threading.Thread(target=db.close)
    with committer.hold():
        closing.start()
        closing.join(0.2)
        assert committer.lock.fd >= 0
    closing.join()
    assert committer.lock.fd < 0


def test_a_close_does_not_wait_for_ever(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "_MOMENT", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with suppress(StrataKVError), db.transaction():
            begun.set()
            go_on.wait(10)

    holding = threading.Thread(target=hold)
    holding.start()
    begun.wait(10)
    db.close()
    go_on.set()
    holding.join()


def test_a_transaction_that_outlives_its_store_writes_nothing(db: DB, open_: Open) -> None:
    db.put(b"before", b"v")

    def outlive() -> None:
        with db.transaction() as tx:
            tx.put(b"k", b"v")
            db.close()

    with pytest.raises(ClosedError):
        outlive()
    db = open_()
    assert dict(db.scan()) == {b"before": b"v"}
    assert db.verify().ok


def test_an_empty_transaction_that_outlives_its_store_leaves_others_alone(db: DB, open_: Open) -> None:
    with db.transaction():
        db.close()
        db = open_()
        words = db._store.control.words
        words[W_BUSY] = 1  # another process is inside its commit
    assert words[W_BUSY] == 1


@pytest.mark.parametrize(
    "write", [lambda db: db.put(b"k", b"v"), lambda db: db.delete(b"before")], ids=["put", "delete"]
)
def test_a_write_that_waited_for_another_process_is_not_made_after_the_close(
    db: DB, open_: Open, monkeypatch: pytest.MonkeyPatch, write: Callable[[DB], object]
) -> None:
    monkeypatch.setattr(writer_lock, "_MOMENT", 0.01)
    db.put(b"before", b"v")
    other = FileLock(db._store.directory, "writer.lock", write=True)
    other.exclusive()
    told: list[BaseException] = []

    def late() -> None:
        try:
            write(db)
        except StrataKVError as error:
            told.append(error)

    writing = threading.Thread(target=late)
    writing.start()
    turn = db._store.committer._turn

    def is_taken() -> bool:
        if turn.acquire(blocking=False):
            turn.release()
            return False
        return True

    wait_until(is_taken)
    db.close()
    other.free()
    writing.join(10)
    assert [type(error) for error in told] == [ClosedError]
    assert dict(open_().scan()) == {b"before": b"v"}


class TestRotation:
    """Death at every step of a change of structure."""

    def steps(self, db: DB, machine: Machine, change: Callable[[DB], object]) -> int:
        before = len(machine.steps)
        change(db)
        return len(machine.steps) - before

    def model(self, db: DB) -> dict[bytes, bytes]:
        model = {b"%d" % number: b"v" * 20 for number in range(60)}
        for key, value in model.items():
            db.put(key, value)
        return model

    @pytest.mark.parametrize("step", range(19))
    def test_each_step(self, db: DB, machine: Machine, go_on: Any, step: int) -> None:
        model = self.model(db)
        machine.die_after(step)
        with pytest.raises(Death):
            db.put(b"large", b"v" * 4000)
        check(go_on(db), model)

    def test_there_are_no_more_steps_than_that(self, db: DB, machine: Machine) -> None:
        self.model(db)
        assert self.steps(db, machine, lambda db: db.put(b"large", b"v" * 4000)) == 19

    @pytest.mark.parametrize("name", ["generation", "set_active"])
    def test_death_before_others_are_told(self, db: DB, monkeypatch: Any, go_on: Any, name: str) -> None:
        model = self.model(db)
        with monkeypatch.context() as patch:
            if name == "generation":
                patch.setattr(type(db._store.structure), "_publish", dies)
            else:
                patch.setattr(control.Control, "set_active", dies)
            with pytest.raises(Death):
                db.put(b"large", b"v" * 4000)
        check(go_on(db), model)

    def test_death_as_soon_as_others_may_see_the_tip(
        self, db: DB, machine: Machine, monkeypatch: Any, open_: Open, go_on: Any
    ) -> None:
        """They must have reason to look for its segment, those that cannot heal, too."""
        model = self.model(db)
        machine.may_write = False
        reader = open_(read_only=True)
        machine.may_write = True
        real = control.Control.set_active

        def set_active(*arguments: Any) -> None:
            real(*arguments)
            raise Death

        with monkeypatch.context() as patch:
            patch.setattr(control.Control, "set_active", set_active)
            with pytest.raises(Death):
                db.put(b"large", b"v" * 4000)
        assert dict(reader.scan()) == model
        reader.close()
        check(go_on(db), model)

    @pytest.mark.parametrize("name", ["generation", "set_active"])
    def test_reading_first_does_not_wait_for_ever(
        self, db: DB, machine: Machine, monkeypatch: Any, open_: Open, name: str
    ) -> None:
        """A process that opens the store now only reads, syncs and closes: nobody writes who could mend."""
        model = self.model(db)
        with monkeypatch.context() as patch:
            if name == "generation":
                patch.setattr(type(db._store.structure), "_publish", dies)
            else:
                patch.setattr(control.Control, "set_active", dies)
            with pytest.raises(Death):
                db.put(b"large", b"v" * 4000)
        machine.bury(db)
        with in_time():
            db = open_(durability="interval")
            assert dict(db.scan()) == model
            assert db.get_many(model) == model
            assert sorted(db.keys()) == sorted(model)
            assert db.stats().keys >= len(model)
            assert db.verify().damage == ()
            db.sync()
            db.close()
            check(open_(), model)

    @pytest.mark.parametrize("then", ["", "reboot"])
    @pytest.mark.parametrize("step", range(20))
    def test_clear(self, db: DB, machine: Machine, open_: Open, step: int, then: str) -> None:
        model = self.model(db)
        db.compact()
        db.put(b"k", b"v")
        db.sync()
        machine.die_after(step)
        with suppress(Death):
            db.clear()
        machine.bury(db)
        if then:
            machine.reboot()
        check(open_(), model | {b"k": b"v"}, {})

    @pytest.mark.parametrize("step", range(14))
    def test_creation(self, path: Path, machine: Machine, open_: Open, step: int) -> None:
        machine.die_after(step)
        with pytest.raises(Death):
            open_()
        machine.bury()
        check(open_(), {})

    def test_a_log_that_was_healed_halfway(self, db: DB, machine: Machine, open_: Open) -> None:
        """Who opens the log after a death inside healing sees all that comes later."""
        db.put(b"k", b"v")
        db._store.control.words[W_BUSY] = 1
        machine.refuse = die_at_clear
        with pytest.raises(Death):
            db.put(b"l", b"v")
        machine.refuse = lambda name, path: None
        with open_(read_only=True) as reader:
            db.put(b"m", b"v")
            assert (reader.get(b"k"), reader.get(b"m")) == (b"v", b"v")
            assert dict(reader.scan()) == {b"k": b"v", b"m": b"v"}


def die_at_clear(name: str, path: Path) -> None:
    if name == "clear":
        raise Death


def test_a_failed_write_is_as_if_it_never_was(filled: DB, machine: Machine) -> None:
    machine.refuse = refuse_pwrite
    for _ in range(3):
        with pytest.raises(stratakv.StorageError):
            filled.put_many(BATCH)
    machine.refuse = lambda name, path: None
    assert filled._store.control.words[W_BUSY] == 1
    check(filled, FIRST)


def refuse_pwrite(name: str, path: Path) -> None:
    if name == "pwrite":
        raise OSError(5, "Input/output error")


def test_short_writes_are_continued(db: DB, monkeypatch: Any) -> None:
    files = db._store.directory.files
    real = files.pwrite
    monkeypatch.setattr(files, "pwrite", lambda fd, data, offset: real(fd, bytes(data)[:7], offset))
    db.put_many(BATCH)
    check(db, BATCH)
