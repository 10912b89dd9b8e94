"""The writer lock that a process has by a word, once it has been writing alone."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stratakv import DB, bias, commit, processes, writer_lock
from stratakv.bias import Bias
from stratakv.control import BIAS_WORDS, W_BIAS, W_BUSY
from stratakv.errors import ClosedError, DiskFullError
from stratakv.files import Files
from stratakv.locks import FileLock
from stratakv.writer_lock import WriterLock
from tests.engine.machine import Machine, in_time
from tests.support.biased import needs_barriers, soon
from tests.support.waiting import wait_until

__all__ = ["soon"]
pytestmark = [needs_barriers, pytest.mark.usefixtures("soon")]

Open = Callable[..., DB]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the kernel is asked of `flock`, by stores that are opened from now on."""
    asked: list[int] = []
    real = Files.flock

    def flock(fd: int, operation: int) -> None:
        asked.append(operation)
        real(fd, operation)

    monkeypatch.setattr(Files, "flock", staticmethod(flock))
    return asked


@pytest.fixture
def db(path: Path, asked: list[int], open_: Open) -> DB:
    """A store whose process has been writing alone."""
    db = open_(maintenance="manual")
    write_alone(db)
    return db


@pytest.fixture
def words(db: DB) -> Any:
    return db._store.control.words


def write_alone(db: DB) -> None:
    for number in range(20):
        db.put(b"alone", b"%d" % number)


def word_of(db: DB) -> int:
    """The number of the word by which this process has the lock; 0 for none."""
    return db._store.committer.bias.word


def other_process(db: DB) -> WriterLock:
    """The lock as another process has it that has the store open."""
    store = db._store
    door, control = store.directory.files, store.control
    writer, own = (FileLock(store.directory, name, write=True) for name in ("writer.lock", "bias.lock"))
    return WriterLock(door, writer, Bias(door, own, control), control, store.structure)


def take(other: WriterLock) -> None:
    with other.hold():
        pass


def test_who_writes_alone_asks_the_kernel_no_more(db: DB, asked: list[int], words: Any) -> None:
    assert word_of(db) in BIAS_WORDS
    asked.clear()
    for number in range(10):
        db.put(b"%d" % number, b"v")
        assert db.incr(b"n") == number + 1
        assert db.add(b"new %d" % number, b"v")
        assert db.delete(b"%d" % number)
    assert asked == []
    assert words[word_of(db)] == 0


def test_who_does_not_asks_each_time(db: DB, asked: list[int]) -> None:
    other = other_process(db)
    take(other)
    for number in range(100):
        if number % 7 == 0:
            take(other)
        asked.clear()
        db.put(b"k", b"v")
        assert len(asked) >= 2
    assert word_of(db) == 0


def test_whoever_comes_takes_it_away(db: DB, asked: list[int], words: Any) -> None:
    take(other_process(db))
    assert words[W_BIAS] == 0
    asked.clear()
    db.put(b"k", b"v")
    assert asked
    assert word_of(db) == 0
    write_alone(db)
    assert word_of(db)


def test_a_write_that_finds_it_gone_is_made_all_the_same(db: DB) -> None:
    for write in (
        lambda: db.put(b"n", b"1"),
        lambda: db.incr(b"n"),
        lambda: db.touch(b"n", 100),
        lambda: db.put_many({b"m": b"1"}),
    ):
        write_alone(db)
        assert word_of(db)
        take(other_process(db))
        write()
    assert db.get_many([b"n", b"m"]) == {b"n": b"2", b"m": b"1"}


def test_a_transaction_leaves_it_where_it_is(db: DB, words: Any) -> None:
    with db.transaction() as tx:
        tx.put(b"a", b"1")
    assert words[W_BIAS] == word_of(db) > 0


def test_each_has_a_word_of_its_own(db: DB) -> None:
    other = other_process(db)
    take(other)
    other.records += bias._ENOUGH
    take(other)
    assert word_of(db) != other.bias.word > 0
    assert other._words[W_BIAS] == other.bias.word


def test_the_processors_catch_up_between_the_mark_and_the_look(
    db: DB, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process that has it might be inside, and neither of the two see the other."""
    number = word_of(db)
    words[number] = 1
    seen: list[tuple[str, bool]] = []
    real = Files.byte_is_locked

    def barrier(self: Files) -> None:
        seen.append(("barrier", words[W_BIAS] == number))

    def byte_is_locked(self: Files, fd: int, place: int) -> bool:
        seen.append(("look", words[W_BIAS] == number))
        words[number] = 0
        return real(self, fd, place)

    monkeypatch.setattr(Files, "barrier", barrier)
    monkeypatch.setattr(Files, "byte_is_locked", byte_is_locked)
    with in_time():
        take(other_process(db))
    assert seen == [("barrier", False), ("look", False)]


def test_the_word_is_set_before_it_is_read_who_has_the_lock(
    db: DB, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = commit.read_commit_state, []

    def read_commit_state(page: Any, place: int) -> Any:
        seen.append(words[word_of(db)])
        return read(page, place)

    monkeypatch.setattr(commit, "read_commit_state", read_commit_state)
    db.put(b"k", b"v")
    assert seen == [1]


def test_who_has_it_takes_part_in_barriers(tmp_path: Path) -> None:
    """In a process of its own, as this one takes part already."""
    program = f"""
import stratakv
from stratakv import processes
from tests.support.waiting import wait_until

def taken_part_in():
    registrations = 1 << 9  # MEMBARRIER_CMD_GET_REGISTRATIONS
    return processes._system_call()(processes._MEMBARRIER, registrations, 0, 0, 0, 0, 0)

print(taken_part_in())
with stratakv.open({str(tmp_path / "s")!r}, durability="os", maintenance="manual") as db:
    for number in range(3000):
        db.put(b"k", b"v")
    assert db._store.committer.bias.word
    print(taken_part_in())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    if "-1" in found.stdout:
        pytest.skip("needs Linux 6.3, which tells in what barriers a process takes part")
    assert found.stdout.split() == ["0", "4"]  # MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED


def test_a_barrier_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process alone may not ask for one, it waits instead for longer than a store stays unseen."""
    slept: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", slept.append)
    Files().barrier()
    assert slept == []
    monkeypatch.setattr(processes, "_membarrier", lambda command: False)
    Files().barrier()
    assert slept == [processes._LONG_SEEN]


def test_whoever_is_interrupted_as_it_waits_leaves_the_waiting_to_the_next(
    db: DB, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words[word_of(db)] = 1  # inside
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(words[W_BIAS])
        if len(looks) < 3:
            raise KeyboardInterrupt
        words[word_of(db)] = 0

    monkeypatch.setattr(bias.time, "sleep", sleep)
    other = other_process(db)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            take(other)
    with in_time():
        take(other)
    assert len(looks) == 3


def test_a_close_ends_the_waiting(path: Path, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives the lock back: from there on, what is half done is somebody else's to mend."""
    monkeypatch.setattr(writer_lock, "_MOMENT", 0.1)
    db = open_(maintenance="manual")
    other = other_process(db)
    take(other)
    other.records += bias._ENOUGH
    take(other)
    words, number = db._store.control.words, other.bias.word
    words[number] = words[W_BUSY] = 1  # inside, and stopped there
    raised: list[BaseException] = []

    def put() -> None:
        with pytest.raises(ClosedError) as caught:
            db.put(b"k", b"v")
        raised.append(caught.value)

    writing = Thread(target=put)
    writing.start()
    wait_until(lambda: words[W_BIAS] != number)
    db.close()
    writing.join()
    assert raised
    assert words[number] == words[W_BUSY] == 1
    assert words[W_BIAS] % 2**32 == number


def test_a_damaged_word_keeps_nobody_waiting(db: DB, words: Any) -> None:
    words[word_of(db)] = 1 << 17
    with in_time():
        take(other_process(db))


def test_processes_of_one_id_are_two(db: DB) -> None:
    """Each container may number its processes for itself."""
    assert other_process(db).bias._process != db._store.committer.bias._process


def test_the_word_of_a_process_that_died_inside_is_not_waited_for(db: DB, words: Any) -> None:
    other, number = other_process(db), word_of(db)
    words[number] = words[W_BUSY] = 1
    db._store.committer.bias.lock.close()  # as the kernel does
    with in_time():
        take(other)
    assert (words[number], words[W_BIAS], words[W_BUSY]) == (0, 0, 0)


def test_a_word_is_cleared_when_it_gets_another_owner(db: DB, words: Any) -> None:
    number = word_of(db)
    words[number] = 1
    db._store.committer.bias.lock.close()
    other = other_process(db)
    assert other.bias._claim() == number
    assert words[number] == 0


LAST = BIAS_WORDS[-1]


@pytest.mark.parametrize("found", [1, 5, LAST, LAST + 1, 511, 512, 2**32, 2**40 + 3, 2**64 - 1])
def test_a_damaged_one_is_nobodys(db: DB, words: Any, found: int) -> None:
    before = words.tolist()
    words[W_BIAS] = found
    with in_time():
        db.put(b"k", b"v")
    assert words[W_BIAS] == word_of(db)
    assert db.get(b"k") == b"v"
    assert words[:5].tolist() == before[:5]


@pytest.mark.parametrize("refused", ["ORDERED", "join_barriers", "lock_byte"])
def test_where_it_cannot_be_had(
    path: Path, asked: list[int], open_: Open, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def no_locks(*_: object) -> bool:
        tries.append(1)
        raise OSError(errno.EINVAL, "no such locks here")

    answer = {"ORDERED": False, "join_barriers": lambda self: False, "lock_byte": no_locks}[refused]
    monkeypatch.setattr(Files, refused, answer)
    db = open_(maintenance="manual")
    for _ in range(5):
        write_alone(db)
    assert word_of(db) == 0
    assert len(tries) == (refused == "lock_byte")
    assert db.get(b"alone") == b"19"


def test_where_all_words_are_taken(path: Path, open_: Open) -> None:
    db = open_(maintenance="manual")
    other = other_process(db)
    for place in BIAS_WORDS:
        assert other._files.lock_byte(other.bias.lock.fd, place)
    write_alone(db)
    assert word_of(db) == 0
    assert db.get(b"alone") == b"19"


def test_a_store_that_was_closed_has_no_word(db: DB) -> None:
    other = other_process(db)
    other.close()
    assert other.bias._claim() == 0


def test_a_failed_write_lets_go_of_it(db: DB, machine: Machine, words: Any) -> None:
    def full(name: str, path: Path) -> None:
        if name in ("pwrite", "allocate"):
            raise OSError(errno.ENOSPC, "No space left on device")

    machine.refuse = full
    with pytest.raises(DiskFullError):
        db.put(b"large", bytes(300_000))
    assert words[word_of(db)] == 0
    machine.refuse = lambda name, path: None
    with in_time():
        take(other_process(db))
    db.put(b"large", b"v")
    assert db.get(b"large") == b"v"


def test_a_signal_inside_lets_go_of_it(db: DB, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half done is mended by whoever comes next."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    number = word_of(db)
    with monkeypatch.context() as patch:
        patch.setattr(db._store.committer, "_write_ahead", interrupted)
        with pytest.raises(KeyboardInterrupt):
            db.put(b"k", bytes(60_000))
    assert words[number] == 0
    assert words[W_BUSY] == 1
    with in_time():
        take(other_process(db))
    db.put(b"k", b"v")
    assert db.verify().damage == ()


def test_it_is_given_up_as_the_store_is_closed(db: DB, words: Any) -> None:
    other = other_process(db)
    db.close()
    assert words[W_BIAS] == 0
    other.close()


def test_it_does_not_outlive_its_process(db: DB, machine: Machine, open_: Open) -> None:
    machine.bury(db)
    again = open_(maintenance="manual")
    assert again._store.control.words[W_BIAS] == 0
    again.put(b"k", b"v")
    assert again.get(b"k") == b"v"
