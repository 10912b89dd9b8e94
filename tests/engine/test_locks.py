"""Waiting for a lock: awake for as long as a few commits take, then asleep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stratakv import DB
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


def test_a_number_is_forgotten_before_others_can_have_it(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(db._store.directory, "writer.lock", write=True)
    close, seen = lock._files.close, []

    def noted(fd: int) -> None:
        seen.append(lock.fd)
        close(fd)

    monkeypatch.setattr(lock._files, "close", noted, raising=False)
    lock.close()
    assert seen == [-1]


@pytest.mark.parametrize("kind", [FileLock, Segment])
def test_what_a_signal_ended_as_it_was_made_goes_without_a_word(kind: type) -> None:
    """An error in a destructor is printed, wherever the program is by then."""
    kind.__del__(kind.__new__(kind))
