"""Operations that depend on what is there: looked up without the lock, but never in vain."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stratakv import DB, InvalidKeyError, InvalidValueError, TransactionError, commit
from stratakv.commit import Committer
from stratakv.control import W_TIP
from stratakv.files import Files
from stratakv.log import OFFSET_MASK
from stratakv.manifest import Edit
from stratakv.reader import Found, Reader
from stratakv.record import HEADER_BYTES
from stratakv.segment import Segment
from stratakv.view import View
from stratakv.writer_lock import WriterLock
from tests.engine.machine import in_time
from tests.support.children import Child
from tests.support.waiting import wait_until

Meanwhile = Callable[[Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Have something happen once, after the next lookup and before what follows from it."""

    def arrange(happens: Callable[[], object]) -> None:
        real = Reader.find_live

        def find_live(self: Reader, view: View, key: bytes) -> Found | None:
            found = real(self, view, key)
            monkeypatch.setattr(Reader, "find_live", real)
            happens()
            return found

        monkeypatch.setattr(Reader, "find_live", find_live)

    return arrange


@pytest.fixture
def db(db: DB) -> DB:
    db.put(b"k", b"1")
    return db


class TestSomebodyElseWasFirst:
    def test_delete(self, db: DB, meanwhile: Meanwhile) -> None:
        meanwhile(lambda: db.delete(b"k"))
        assert not db.delete(b"k")

    def test_delete_of_a_value_that_is_newer(self, db: DB, meanwhile: Meanwhile) -> None:
        meanwhile(lambda: db.put(b"k", b"2"))
        assert db.delete(b"k")
        assert db.get(b"k") is None

    def test_add(self, db: DB, meanwhile: Meanwhile) -> None:
        meanwhile(lambda: db.add(b"new", b"theirs"))
        assert not db.add(b"new", b"ours")
        assert db.get(b"new") == b"theirs"

    def test_touch(self, db: DB, meanwhile: Meanwhile) -> None:
        meanwhile(lambda: db.put(b"k", b"2"))
        assert db.touch(b"k", 100)
        assert db.get(b"k") == b"2"
        assert db.ttl(b"k") is not None

    def test_update(self, db: DB, meanwhile: Meanwhile) -> None:
        """What is to be changed is the value that is there at the commit; who changes it is asked again."""
        asked = []

        def change(value: bytes) -> bytes:
            asked.append(value)
            return value + b"!"

        meanwhile(lambda: db.put(b"k", b"2"))
        assert db.update(b"k", change) == b"2!"
        assert db.get(b"k") == b"2!"
        assert asked == [b"1", b"2"]

    @pytest.mark.parametrize("others", ["incr", "put_many", "transaction", "clear", "delete_prefix"])
    def test_incr(self, db: DB, meanwhile: Meanwhile, others: str) -> None:
        def transaction() -> None:
            with db.transaction() as tx:
                tx.put(b"k", b"5")

        happens: dict[str, tuple[Callable[[], object], int]] = {
            "incr": (lambda: db.incr(b"k", 10), 12),
            "put_many": (lambda: db.put_many({b"k": b"5", b"l": b""}), 6),
            "transaction": (transaction, 6),
            "clear": (db.clear, 1),
            "delete_prefix": (lambda: db.delete_prefix(b"k"), 1),
        }
        meanwhile(happens[others][0])
        assert db.incr(b"k") == happens[others][1]
        assert db.get(b"k") == b"%d" % happens[others][1]

    def test_that_this_thread_has_to_wait_for(self, db: DB, meanwhile: Meanwhile) -> None:
        """A transaction that was open when the record was looked up, and has written it when it ends."""
        entered = threading.Event()

        def transaction() -> None:
            with db.transaction() as tx:
                tx.put(b"k", b"5")
                entered.set()
                time.sleep(0.2)  # by then the other waits, as a rule

        other = threading.Thread(target=transaction)

        def begin() -> None:
            other.start()
            wait_until(entered.is_set)

        meanwhile(begin)
        with in_time():
            assert db.incr(b"k") == 6
        other.join()

    def test_a_transaction_that_wrote_nothing(self, db: DB, meanwhile: Meanwhile) -> None:
        """It saw the record expire, so nobody may see it revived."""
        db.touch(b"k", 0.2)

        def transaction() -> None:
            with db.transaction() as tx:
                assert tx.get(b"k") == b"1"
                wait_until(lambda: tx.get(b"k") is None)

        meanwhile(transaction)
        assert db.incr(b"k") == 1

    def test_an_eviction(self, db: DB, meanwhile: Meanwhile) -> None:
        structure, committer = db._store.structure, db._store.committer
        with committer.hold() as held:
            structure.rotate(held)

        def evict() -> None:
            with committer.hold() as held:
                structure.install(held, Edit(drop={structure.view.sealed[0].number}))
            assert db.get(b"k") is None

        meanwhile(evict)
        assert db.incr(b"k") == 1


class TestUpdate:
    def test_it_keeps_the_time_to_live(self, db: DB, clock: Any) -> None:
        db.put(b"k", b"1", ttl=10)
        clock.wait(4)
        assert db.update(b"k", lambda value: bytearray(value + b"2")) == b"12"
        assert (db.get(b"k"), db.ttl(b"k")) == (b"12", pytest.approx(6))
        clock.wait(7)
        assert db.update(b"k", lambda value: value) is None

    def test_a_missing_key_is_left_missing(self, db: DB) -> None:
        assert db.update(b"absent", lambda value: b"v") is None
        assert b"absent" not in db

    def test_what_it_raises_leaves_everything_as_it_was(self, db: DB) -> None:
        with pytest.raises(ZeroDivisionError):
            db.update(b"k", lambda value: b"%d" % (1 // 0))
        with pytest.raises(InvalidValueError, match="memoryview, not str"):
            db.update(b"k", lambda value: "text")  # type: ignore[arg-type,return-value]
        assert db.get(b"k") == b"1"

    def test_a_write_in_the_middle_of_it_is_an_error_and_no_deadlock(self, db: DB) -> None:
        """Without the lock it comes first; with it, it would wait for itself."""

        def change(value: bytes) -> bytes:
            db.incr(b"k")
            return value

        with in_time(), pytest.raises(TransactionError, match="transaction's own methods"):
            db.update(b"k", change)
        assert db.incr(b"k") == 3


def test_a_batch_is_not_seen_in_part(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first record is there when it is looked up; the answer waits for the others."""
    inside, arrived = threading.Event(), threading.Event()
    real_insert, real_find, real_hold = commit.insert, Reader.find_live, WriterLock.hold

    def insert(words: memoryview, segment: Segment, key: bytes, *arguments: Any) -> None:
        if key == b"second":
            inside.set()
            arrived.wait(60)
        real_insert(words, segment, key, *arguments)

    def find_live(self: Reader, view: View, key: bytes) -> Found | None:
        if not other.ident:
            other.start()
            wait_until(inside.is_set)
            monkeypatch.setattr(WriterLock, "hold", enter)
        return real_find(self, view, key)

    def enter(self: WriterLock) -> Any:
        arrived.set()
        return real_hold(self)

    monkeypatch.setattr(commit, "insert", insert)
    monkeypatch.setattr(Reader, "find_live", find_live)
    other = threading.Thread(target=db.put_many, args=({b"first": b"1", b"second": b"2"},))
    with in_time():
        assert not db.add(b"first", b"ours")
        assert db.get(b"second") == b"2"
    other.join()


def test_another_process_is_between_tip_and_slot(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup finds the version before; the tip has been there already."""
    (inside, entered), (wait, go) = os.pipe(), os.pipe()
    real_takes_over, real_find, real_hold = commit.takes_over, Reader.find_live, WriterLock.hold

    def put() -> None:
        def takes_over(*arguments: Any) -> bool:
            os.write(entered, b".")
            os.read(wait, 1)
            return real_takes_over(*arguments)

        db.get(b"k")  # so that the put finds all as usual
        monkeypatch.setattr(commit, "takes_over", takes_over)
        db.put(b"k", b"5")

    def find_live(self: Reader, view: View, key: bytes) -> Found | None:
        found = real_find(self, view, key)
        os.write(go, b".")
        assert other.wait() == 0
        return found

    def enter(self: WriterLock) -> Any:
        os.write(go, b".")
        return real_hold(self)

    other = Child(put)
    os.read(inside, 1)
    monkeypatch.setattr(Reader, "find_live", find_live)
    monkeypatch.setattr(WriterLock, "hold", enter)
    with in_time():
        assert db.incr(b"k") == 6
    for fd in (inside, entered, wait, go):
        os.close(fd)


def test_somebody_writes_while_a_segment_has_to_be_begun(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short commit has seen that nobody was there, and lets go of the lock before the long one has it."""
    real = WriterLock.hold

    def enter(self: WriterLock) -> Any:
        monkeypatch.setattr(WriterLock, "hold", real)
        db.put(b"k", b"5")
        return real(self)

    active, words = db._store.structure.view.active, db._store.control.words
    left = active.end - (words[W_TIP] & OFFSET_MASK)
    db.put(b"f", bytes(left - 2 * HEADER_BYTES - 1))  # there is room for no other record
    monkeypatch.setattr(WriterLock, "hold", enter)
    assert db.incr(b"k") == 6


def test_a_transaction_of_this_thread_is_told_even_where_nothing_would_be_written(db: DB) -> None:
    with db.transaction():
        for operation in (
            lambda: db.delete(b"absent"),
            lambda: db.add(b"k", b""),
            lambda: db.touch(b"absent", 1),
        ):
            with pytest.raises(TransactionError):
                operation()


BAD: dict[str, Callable[[DB, Any], object]] = {
    "delete": lambda db, key: db.delete(key),
    "add": lambda db, key: db.add(key, "no bytes"),  # type: ignore[arg-type]
    "touch": lambda db, key: db.touch(key, 1),
    "incr": lambda db, key: db.incr(key),
    "update": lambda db, key: db.update(key, lambda value: value),
}


@pytest.mark.parametrize("operation", BAD.values(), ids=BAD)
def test_a_bad_key_is_refused_before_anything_is_locked(
    db: DB, operation: Callable[[DB, Any], object]
) -> None:
    with db.transaction():  # while which there is no looking up without the lock
        for key in ("text", b"", bytes(70_000)):
            with pytest.raises(InvalidKeyError):
                operation(db, key)


def test_processors_that_store_in_another_order(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup may miss what the tip covers, so there is none without the lock."""
    monkeypatch.setattr(Files, "ORDERED", False)
    monkeypatch.setattr(Committer, "commit_one", None)
    assert db.incr(b"k") == 2
    assert db.delete(b"k")


def test_nothing_is_locked_where_nothing_is_written(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a delete of what is not there, or an add of what is, costs a lookup and no lock."""
    monkeypatch.setattr(Committer, "commit_one", None)
    monkeypatch.setattr(WriterLock, "hold", None)
    assert not db.delete(b"absent")
    assert not db.add(b"k", b"")
    assert not db.touch(b"absent", 1)
