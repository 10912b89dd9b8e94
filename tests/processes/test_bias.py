"""Real processes, one of which has the writer lock by a word: others come, it is stopped, killed, forked."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.control import W_BIAS
from tests.support.biased import needs_barriers, soon
from tests.support.children import Child, fork_in_c, run

__all__ = ["soon"]
pytestmark = [needs_barriers, pytest.mark.usefixtures("soon")]

OPTIONS = {"durability": "os", "maintenance": "manual"}
_PATIENCE = 60  # seconds


def open_(path: Path) -> DB:
    return stratakv.open(path, **OPTIONS)


def write_alone(db: DB) -> int:
    """Write until this process has the lock by its word; return the number of that."""
    for number in range(20):
        db.put(b"alone", b"%d" % number)
    return db._store.committer.bias.word


def inside(db: DB, then: Callable[[], None]) -> None:
    """Have `then` happen in the midst of the next put of more than 64 KiB, which is not written ahead."""
    committer = db._store.committer
    real = committer._pwrite

    def pwrite(*arguments: Any) -> int:
        written = real(*arguments)
        then()
        return written

    committer._pwrite = pwrite


LARGE = bytes(range(256)) * 300


def get_inside(path: Path, then: signal.Signals) -> None:
    """Get the signal `then` in the midst of a put, with the lock by a word."""
    db = open_(path)
    assert write_alone(db)
    inside(db, lambda: os.kill(os.getpid(), then))
    db.put(b"theirs", LARGE)


def test_bursts_of_four_processes(tmp_path: Path) -> None:
    """No count is lost, however often the lock goes from the word of one to another one."""
    path, bursts = tmp_path / "s", 200
    open_(path).close()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        by_word = 0
        with open_(path) as db:
            for _ in range(bursts):
                for _ in range(chance.choice([1, 5, 60])):
                    db.incr(b"all")
                    db.incr(b"%d" % seed)
                    by_word += db._store.committer.bias.word > 0
                time.sleep(chance.random() * 2e-3)
            db.put(b"by word %d" % seed, b"%d" % by_word)

    assert run(*[lambda seed=seed: work(seed) for seed in range(4)]) == [0] * 4
    with open_(path) as db:
        assert int(db.get(b"all", b"")) == sum(int(db.get(b"%d" % seed, b"")) for seed in range(4))
        had = sum(int(db.get(b"by word %d" % seed, b"")) for seed in range(4))
        assert db.verify().damage == ()
    assert had > 100


def test_who_comes_waits_for_one_that_is_stopped_inside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    open_(path).close()

    child = Child(lambda: get_inside(path, signal.SIGSTOP))
    try:
        os.waitpid(child.pid, os.WUNTRACED)
        with open_(path) as db:
            writing = Thread(target=db.put, args=(b"ours", b"v"))
            writing.start()
            writing.join(0.3)
            assert writing.is_alive()
            assert b"theirs" not in db
            os.kill(child.pid, signal.SIGCONT)
            writing.join()
            assert db.get_many([b"theirs", b"ours"]) == {b"theirs": LARGE, b"ours": b"v"}
    finally:
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait() == 0


def test_who_comes_does_not_wait_for_one_that_was_killed_inside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_(path) as db:
        child = Child(lambda: get_inside(path, signal.SIGKILL))
        assert child.wait() == -signal.SIGKILL
        assert db._store.control.words[W_BIAS]
        db.put(b"ours", b"v")
        assert dict(db.scan()) == {b"alone": b"19", b"ours": b"v"}
        assert db.verify().damage == ()


def test_kills_at_any_moment_with_another_one_writing(tmp_path: Path) -> None:
    """What the killed one was told was stored is there, and the other one goes on at once."""
    path, chance = tmp_path / "s", random.Random(4)
    with open_(path) as db:
        for round_ in range(100):
            receive, send = os.pipe()

            def work(round_: int = round_, send: int = send) -> None:
                db, number = open_(path), 0
                while True:
                    number += 1
                    db.put(b"count", b"%d %d" % (round_, number))
                    os.write(send, b".")

            child = Child(work)
            os.close(send)
            select.select([receive], [], [], _PATIENCE)
            end = time.monotonic() + chance.random() * 0.02
            while time.monotonic() < end:
                db.incr(b"ours")
                time.sleep(chance.random() * 4e-3)
            child.kill()
            before = int(db.get(b"ours", b"0"))
            assert db.incr(b"ours") == before + 1
            with os.fdopen(receive, "rb") as pipe:
                acknowledged = len(pipe.read())
            found, number = db.get(b"count", b"").split()
            assert int(found) == round_
            assert acknowledged <= int(number) <= acknowledged + 1
        assert db.verify().damage == ()


@pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["Python", "C"])
def test_a_child_does_not_have_it(tmp_path: Path, fork: Callable[[], int]) -> None:
    """Parent and child write at the same time, and no count is lost."""
    with open_(tmp_path / "s") as db:
        assert write_alone(db)

        def count() -> None:
            for _ in range(300):
                db.incr(b"n")

        def born() -> None:
            db.put(b"first", b"v")
            assert db._store.committer.bias.word == 0
            count()

        child = Child(born, fork)
        count()
        assert child.wait() == 0
        assert db.get(b"n") == b"600"
        assert db.verify().damage == ()


def test_a_child_that_is_forked_inside_leaves_the_word_to_its_parent(tmp_path: Path) -> None:
    """As by a signal handler: the child goes on with the write, and so does its parent."""
    with open_(tmp_path / "s") as db:
        number = write_alone(db)
        words, seen, pid = db._store.control.words, [], -1

        def fork() -> None:
            nonlocal pid
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                seen.append(words[number])

        inside(db, fork)
        try:
            db.put(b"alone", LARGE)
        finally:
            if pid == 0:
                os._exit(0)
        assert seen == [1]
        assert db.get(b"alone") == LARGE
        assert db.verify().damage == ()


def test_a_child_that_does_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Its parent is killed inside; it has the same files open from its birth on."""
    path = tmp_path / "s"
    with open_(path) as db:
        receive, send = os.pipe()

        def parent() -> None:
            db = open_(path)
            assert write_alone(db)
            child = Child(lambda: time.sleep(_PATIENCE))
            os.write(send, b"%d" % child.pid)
            inside(db, lambda: os.kill(os.getpid(), signal.SIGKILL))
            db.put(b"theirs", LARGE)

        assert Child(parent).wait() == -signal.SIGKILL
        writing = Thread(target=db.put, args=(b"ours", b"v"))
        writing.start()
        writing.join(_PATIENCE / 4)
        waits = writing.is_alive()
        os.kill(int(os.read(receive, 20)), signal.SIGKILL)
        writing.join()
        assert not waits
