"""Waiting for a lock: awake for as long as a few commits take, then asleep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stratakv import DB
from stratakv.control import W_BUSY, W_INDEXED
from stratakv.files import Files
from stratakv.locks import EXCLUSIVE, EXCLUSIVE_NOW, FileLock
from stratakv.segment import Segment


@pytest.fixture
def db(path: Path, open_: Callable[..., DB]) -> DB:
    return open_(maintenance="manual")


def locked(db: DB, answers: Iterator[bool], asked: list[int], monkeypatch: pytest.MonkeyPatch) -> FileLock:
    """A lock that is free whenever the next of `answers` says so; `asked` is what the kernel was asked."""

    def flock(fd: int, operation: int) -> None:
        asked.append(operation)
        if operation == EXCLUSIVE_NOW and not next(answers):
            raise BlockingIOError

    lock = FileLock(db._store.directory, "writer.lock", write=True)
    monkeypatch.setattr(Files, "flock", staticmethod(flock))
    return lock


def test_who_finds_it_taken_for_a_moment_does_not_sleep(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    lock = locked(db, iter([False, False, True]), asked, monkeypatch)
    lock.exclusive()
    assert asked == [EXCLUSIVE_NOW] * 3


def test_who_finds_it_taken_for_long_sleeps(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    lock = locked(db, iter(lambda: False, True), asked, monkeypatch)
    lock.exclusive()
    assert asked[-1] == EXCLUSIVE
    assert asked.count(EXCLUSIVE) == 1


@pytest.mark.parametrize(
    "write",
    [lambda db: db.put(b"k", b"new"), lambda db: db.put_many({b"k": b"new"})],
    ids=["put", "put_many"],
)
def test_a_write_waits_until_the_lock_is_free(db: DB, write: Callable[[DB], Any]) -> None:
    db.put(b"k", b"old")
    other = FileLock(db._store.directory, "writer.lock", write=True)
    other.exclusive()
    writing = Thread(target=write, args=(db,))
    writing.start()
    writing.join(0.2)
    assert writing.is_alive()
    assert db.get(b"k") == b"old"
    other.free()
    writing.join()
    assert db.get(b"k") == b"new"


def leave_half_done(db: DB) -> None:
    words = db._store.control.words
    before = words[W_INDEXED]
    db.put(b"a", b"1")
    words[W_INDEXED], words[W_BUSY] = before, 1
    db.put_many({b"b": b"2"})


def lose_the_manifest(db: DB) -> None:
    db.put(b"k", b"v")
    (db.path / "MANIFEST").write_bytes(b"")
    db.delete_prefix(b"k")


def outgrow_the_budget(db: DB) -> None:
    while not db.stats().evicted_keys:
        db.put_many({b"k": bytes(2**18)})


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (leave_half_done, "a writer stopped inside its commit"),
        (lose_the_manifest, "it is written anew"),
        (outgrow_the_budget, "the store is over its budget"),
    ],
)
def test_who_handles_a_message_holds_nobody_up(
    open_: Callable[..., DB], act: Callable[[DB], None], said: str
) -> None:
    """A handler may take its time, or wait for ever, and everybody writes meanwhile."""
    db = open_(maintenance="manual", max_bytes=4 * 2**20)
    lock, told = FileLock(db._store.directory, "writer.lock", write=True), []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert lock.try_exclusive()
            lock.unlock()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(db.put_many, {b"meanwhile": b"v"}).result(10)
            told.append(record.getMessage())

    logger, handler = logging.getLogger("stratakv"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        act(db)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert any(said in message for message in told)


def test_a_number_is_forgotten_before_others_can_have_it(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(db._store.directory, "writer.lock", write=True)
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(lock._file, "close", lambda: seen.append(lock.fd))
        lock.close()
    assert seen == [-1]


@pytest.mark.parametrize("kind", [FileLock, Segment])
def test_what_a_signal_ended_as_it_was_made_goes_without_a_word(kind: type) -> None:
    """An error in a destructor is printed, wherever the program is by then."""
    kind.__del__(kind.__new__(kind))
