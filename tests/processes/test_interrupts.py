"""Ctrl-C, or any signal whose handler raises, at any moment of whatever the main thread does with a store."""

from __future__ import annotations

import fcntl
import gc
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, commit, open_stores, store
from stratakv.gathering import Gathering, Wish
from tests.engine.machine import in_time, open_in
from tests.support.children import run

INTERRUPTS = 400


def write_a_little(db: DB) -> None:
    db.put(b"m", b"v")
    db.put_many({b"m": b"1", b"n": b"1"})
    db.incr(b"n")
    db.delete(b"m")
    with db.transaction() as tx:
        tx.put(b"m", b"2")
    db.delete_prefix(b"m")
    db.get_many([b"m", b"n"])


def tidy_up(db: DB) -> None:
    db.put(b"m", b"v")
    db.compact()


@pytest.mark.parametrize(
    ("durability", "error"),
    [("os", KeyboardInterrupt), ("always", KeyboardInterrupt), ("always", TimeoutError)],
)
@pytest.mark.parametrize("work", [write_a_little, tidy_up], ids=lambda work: work.__name__)
def test_nobody_is_held_up(
    tmp_path: Path, work: Callable[[DB], None], durability: str, error: type[BaseException]
) -> None:
    """Neither other threads nor other processes, the store stays sound, and no file stays open.

    A TimeoutError is an OSError, and not taken for one of the kernel's.
    """
    path = tmp_path / "store"

    def interrupted() -> None:
        armed = False

        def interrupt(*_: object) -> None:
            if armed:
                raise error

        signal.signal(signal.SIGALRM, interrupt)
        # A signal between two lines of `logging.Handler.handle` leaves that handler locked for ever.
        logging.getLogger("stratakv").handlers[:] = [logging.NullHandler()]
        logging.getLogger("stratakv").propagate = False
        sys.unraisablehook = lambda unraisable: None  # pytest's would keep all that the frames hold
        with stratakv.open(path, durability=durability, maintenance="manual", segment_bytes=2**16) as db:
            other = OtherThread(db)
            chance = random.Random(7)
            for _ in range(INTERRUPTS):
                try:
                    armed = True
                    # Again and again: what is raised in a destructor is lost.
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-3), 0.01)
                    while True:
                        work(db)
                except error:
                    armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            other.end()
            for name in ("writer.lock", "sync.lock", "maintenance.lock"):
                with (path / name).open("ab") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            work(db)
            db.sync()
            assert db.verify().damage == ()
        with in_time(60):
            while open_in(path):  # a thread of ours may still be looking whether a lock was let go
                time.sleep(0.01)
                gc.collect()

    assert run(interrupted) == [0]


def test_a_leader_that_cannot_leave_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals may interrupt a thread each time that it tries to."""

    def interrupted() -> None:
        def fail(gathering: Gathering[Wish], wish: Wish) -> None:
            raise TimeoutError

        db = stratakv.open(tmp_path / "store", durability="always")
        with monkeypatch.context() as patch:
            patch.setattr(Gathering, "leave", fail)
            with pytest.raises(TimeoutError):
                db.put(b"k", b"v")
        other = threading.Thread(target=db.put, args=(b"k", b"1"), daemon=True)
        other.start()
        with in_time(20):
            other.join()
            db.put(b"k", b"2")
            db.close()

    assert run(interrupted) == [0]


class OtherThread:
    """One that writes all the time."""

    def __init__(self, db: DB) -> None:
        self._db = db
        self._ending = threading.Event()
        self._done = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ending.is_set():
            self._db.put_many({b"t": b"%d" % self._done})
            self._db.put(b"u", b"v")
            self._done += 1

    def end(self) -> None:
        """End it, once it is seen to go on."""
        before, deadline = self._done, time.monotonic() + 60
        while self._done < before + 3:
            assert time.monotonic() < deadline, "it waits for ever"
            time.sleep(0.001)
        self._ending.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


class EndedAsItBegins:
    """A lock with which a signal raises when it is taken, and what frees it has not begun."""

    def __init__(self, turn: Any) -> None:
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turn, name)

    def acquire(self) -> None:
        """As it happens behind the call."""
        self._turn.acquire()
        raise KeyboardInterrupt

    def __enter__(self) -> None:
        """As it happens since Python 3.14."""
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self._turn.release()


@pytest.mark.parametrize("durability", ["os", "always"])
@pytest.mark.parametrize(
    ("part", "lock", "act"),
    [
        ("committer", "_turn", lambda db: db.put(b"k", b"v")),
        ("committer", "_turn", lambda db: db.put_many({b"k": b"v"})),
        ("structure", "_refreshing", lambda db: db.clear()),
        ("maintenance", "_turn", lambda db: db.compact()),
        ("syncer", "_starting", lambda db: db._store.syncer.stop()),
        ("syncer._gathering", "_turn", lambda db: db._store.syncer.reach(2**60)),
    ],
)
def test_a_lock_that_is_taken_as_a_signal_comes(
    tmp_path: Path, durability: str, part: str, lock: str, act: Callable[[DB], None]
) -> None:
    with stratakv.open(tmp_path / "store", durability=durability, maintenance="manual") as db:
        owner = attrgetter(part)(db._store)
        turn = getattr(owner, lock)
        setattr(owner, lock, EndedAsItBegins(turn))
        with pytest.raises(KeyboardInterrupt):
            act(db)
        setattr(owner, lock, turn)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(turn.acquire, timeout=5).result(), "no other thread ever gets it"
            pool.submit(turn.release).result()


@pytest.mark.parametrize("durability", ["os", "interval", "always"])
def test_a_signal_handler_that_uses_the_store(tmp_path: Path, durability: str) -> None:
    """It may read at any moment, and write as well, or is told that it may not just now; it never waits."""
    path = tmp_path / "store"

    def handled() -> None:
        written: list[bytes] = [b"none"]
        refused: list[str] = []

        def handle(*_: object) -> None:
            assert db.get(b"there") == b"v"
            value = b"%d" % (len(written) + len(refused))
            try:
                db.put(b"handler", value)
            except stratakv.TransactionError as error:
                refused.append(str(error))
                if "is committed" in str(error):
                    written.append(value)
            else:
                written.append(value)
            signal.setitimer(signal.ITIMER_REAL, 0.0002)

        signal.signal(signal.SIGALRM, handle)
        with stratakv.open(path, durability=durability, maintenance="manual", segment_bytes=2**16) as db:
            db.put_many({b"there": b"v", b"handler": b"none"})
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
            while len(written) < 20 or not any("signal handler" in message for message in refused):
                db.put(b"m", b"v")
                write_a_little(db)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            assert db.get(b"handler") == written[-1]
            assert db.verify().damage == ()

    assert run(handled) == [0]


def test_a_signal_handler_reads_many_keys_in_the_midst_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees what was there before."""
    seen: list[dict[bytes, bytes]] = []
    insert = commit.insert

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGALRM)
        insert(*arguments)

    with stratakv.open(tmp_path / "store", durability="os", maintenance="manual") as db:
        db.put_many({b"k": b"old", b"l": b"old"})
        before = signal.signal(signal.SIGALRM, lambda *_: seen.append(db.get_many([b"k", b"l"])))
        monkeypatch.setattr(commit, "insert", interrupted)
        db.put_many({b"k": b"new", b"l": b"new"})
        signal.signal(signal.SIGALRM, before)
        assert db.get_many([b"k", b"l"]) == {b"k": b"new", b"l": b"new"}
    assert seen == [{b"k": b"old", b"l": b"old"}] * 2


def test_a_signal_handler_that_writes_while_the_store_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the process, where the handles are open still. It would wait for itself."""

    def handle(*_: object) -> None:
        with pytest.raises(stratakv.TransactionError):
            db.put(b"k", b"v")

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)
        seal(*arguments)

    seal = store.seal_active
    db = stratakv.open(tmp_path / "store", durability="os", maintenance="manual")
    before = signal.signal(signal.SIGUSR1, handle)
    monkeypatch.setattr(store, "seal_active", interrupted)
    with in_time():
        open_stores._stores.pop(db._store.identity).close()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("moment", ["attach", "seal_active"])
def test_a_signal_handler_that_opens_a_store_while_it_is_opened_or_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It would wait for a lock that its own thread holds."""
    path, real = tmp_path / "store", getattr(store, moment)

    def handle(*_: object) -> None:
        for read_only in (False, True):
            with pytest.raises(stratakv.StoreBusyError, match="by this very thread"):
                stratakv.open(path, read_only=read_only)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        with monkeypatch.context() as here:
            here.setattr(store, moment, real)
            signal.raise_signal(signal.SIGUSR1)
        return real(*arguments, **named)

    before = signal.signal(signal.SIGUSR1, handle)
    monkeypatch.setattr(store, moment, interrupted)
    with in_time(), stratakv.open(path, durability="os", maintenance="manual") as db:
        db.put(b"k", b"v")
    signal.signal(signal.SIGUSR1, before)
