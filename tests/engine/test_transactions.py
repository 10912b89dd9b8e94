"""Transactions: own writes seen, all or nothing, alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stratakv import DB, InvalidKeyError, InvalidValueError, KeyNotFoundError, TransactionError
from stratakv.locks import FileLock
from tests.engine.machine import in_time


def test_it_sees_its_own_writes_and_others_do_not(db: DB) -> None:
    db.put_many({b"a": b"1", b"b": b"2"})
    with db.transaction() as tx:
        tx.put(b"a", b"one")
        assert tx.delete(b"b") is True
        assert tx.delete(b"b") is False
        tx.put(b"new", b"3")
        assert (tx.get(b"a"), tx.get(b"b"), tx.get(b"b", b"none")) == (b"one", None, b"none")
        assert b"new" in tx
        assert b"b" not in tx
        assert db.get_many([b"a", b"b", b"new"]) == {b"a": b"1", b"b": b"2"}
    assert dict(db.scan()) == {b"a": b"one", b"new": b"3"}


def test_an_exception_discards_it_all(db: DB) -> None:
    db.put(b"a", b"1")
    before = db.stats().bytes_written
    with pytest.raises(RuntimeError, match="mine"), db.transaction() as tx:  # noqa: PT012 - the block is the point
        tx.put(b"a", b"2")
        tx.delete(b"a")
        raise RuntimeError("mine")
    assert dict(db.scan()) == {b"a": b"1"}
    assert db.stats().bytes_written == before
    db.put(b"b", b"2")
    assert db.verify().ok


def test_ttl(db: DB, clock: Any) -> None:
    db.put(b"old", b"1", ttl=10)
    clock.wait(4)
    with db.transaction() as tx:
        assert tx.ttl(b"old") == pytest.approx(6)
        tx.put(b"new", b"1", ttl=3)
        assert tx.ttl(b"new") == pytest.approx(3)
        tx.put(b"gone", b"1", ttl=0)
        assert tx.get(b"gone") is None
        for key in (b"absent", b"gone"):
            with pytest.raises(KeyNotFoundError):
                tx.ttl(key)
    clock.wait(2)
    assert dict(db.scan()) == {b"old": b"1", b"new": b"1"}
    clock.wait(2)
    assert dict(db.scan()) == {b"old": b"1"}


def test_bad_input_inside_leaves_the_transaction_usable(db: DB) -> None:
    with db.transaction() as tx:
        tx.put(b"a", b"1")
        with pytest.raises(InvalidKeyError):
            tx.put(b"", b"1")
        with pytest.raises(InvalidKeyError):
            tx.get("text")  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            tx.put(b"b", "text")  # type: ignore[arg-type]
    assert dict(db.scan()) == {b"a": b"1"}


def test_a_key_that_cannot_be_hashed(db: DB) -> None:
    with db.transaction() as tx, pytest.raises(InvalidKeyError, match="must be bytes, not list"):
        tx.get([])  # type: ignore[arg-type]


def test_a_value_is_taken_as_it_is_now(db: DB) -> None:
    value = bytearray(b"now")
    with db.transaction() as tx:
        tx.put(b"k", value)
        value[:] = b"new"
    assert db.get(b"k") == b"now"


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.put(b"k", b"v"),
        lambda db: db.incr(b"n"),
        lambda db: db.update(b"a", bytes),
        lambda db: db.put_many({b"k": b"v"}),
        lambda db: db.clear(),
        lambda db: db.compact(),
        lambda db: db.transaction().__enter__(),
    ],
)
def test_the_store_behind_its_back_is_refused(db: DB, call: Any) -> None:
    with db.transaction() as tx:
        tx.put(b"a", b"1")
        with pytest.raises(TransactionError, match="transaction"):
            call(db)
    assert dict(db.scan()) == {b"a": b"1"}
    db.put(b"k", b"v")


@pytest.mark.parametrize("call", [DB.compact, DB.maintain], ids=["compact", "maintain"])
def test_it_does_not_wait_for_whoever_maintains_the_store(db: DB, call: Callable[[DB], object]) -> None:
    """That one may be waiting for the end of the transaction."""
    with FileLock(db._store.directory, "maintenance.lock", write=True) as lock:
        lock.exclusive()
        with db.transaction(), in_time(), pytest.raises(TransactionError):
            call(db)
    db.compact()


def test_it_ends_with_its_block(db: DB) -> None:
    with db.transaction() as tx:
        pass
    for call in (
        lambda: tx.put(b"k", b"v"),
        lambda: tx.get(b"k"),
        lambda: tx.delete(b"k"),
        lambda: b"k" in tx,
    ):
        with pytest.raises(TransactionError, match="ended"):
            call()


def test_other_threads_wait(db: DB) -> None:
    entered, wrote = threading.Event(), threading.Event()

    def write() -> None:
        entered.set()
        db.incr(b"n")
        wrote.set()

    with db.transaction() as tx:
        thread = threading.Thread(target=write)
        thread.start()
        entered.wait()
        assert not wrote.wait(0.05)
        tx.put(b"n", b"41")
    thread.join()
    assert db.get(b"n") == b"42"


def test_threads_count_together(db: DB) -> None:
    def count() -> None:
        for _ in range(200):
            db.incr(b"n")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.get(b"n") == b"800"
    assert db.verify().ok


def test_one_that_ends_in_another_thread(db: DB) -> None:
    """As a dependency of a web framework may, of which each half runs in some thread."""
    transaction = db.transaction()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        tx = first.submit(transaction.__enter__).result()
        tx.put(b"k", b"v")
        second.submit(transaction.__exit__, None, None, None).result()
        for thread in (first, second):
            thread.submit(db.put, b"l", b"v").result(10)
    assert dict(db.scan()) == {b"k": b"v", b"l": b"v"}
