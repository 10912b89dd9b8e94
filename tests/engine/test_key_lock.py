"""A lock on a key: one holder among all threads and processes, free again however its holder ends."""

from __future__ import annotations

import gc
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, key_lock
from tests.engine.machine import descriptors_open, in_time
from tests.support.children import run
from tests.support.waiting import wait_until


@pytest.fixture
def db(path: Path, open_: Callable[..., DB]) -> DB:
    return open_(maintenance="manual")


def test_one_holds_it_at_a_time(db: DB) -> None:
    mine, yours = db.lock(b"page"), db.lock(b"page")
    assert mine.acquire()
    assert not yours.acquire(blocking=False)
    assert not yours.acquire(timeout=0.01)
    assert mine.locked()
    assert yours.locked()
    mine.release()
    assert not yours.locked()
    assert yours.acquire(blocking=False)
    yours.release()


def test_an_object_that_holds_it_cannot_take_it_again(db: DB) -> None:
    lock = db.lock(b"page")
    with lock:
        assert not lock.acquire(blocking=False)
    assert not lock.locked()


def test_a_key_and_its_lock_have_nothing_to_do_with_each_other(db: DB) -> None:
    with db.lock(b"page"):
        assert not db.lock(b"other").locked()
        db.put(b"page", b"value")
        assert db.get(b"page") == b"value"
        assert list(db.keys()) == [b"page"]


def test_threads_wait_for_each_other(db: DB) -> None:
    inside: list[int] = []
    most = []

    def work(number: int) -> None:
        with db.lock(b"page"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.002)
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(30)))
    assert most == [1] * 30


def test_who_waits_gets_it_when_it_is_free(db: DB) -> None:
    lock, taken = db.lock(b"page"), threading.Event()
    lock.acquire()

    def wait() -> None:
        with db.lock(b"page"):
            taken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not taken.wait(0.1)
    lock.release()
    waiting.join(20)
    assert taken.is_set()


@pytest.mark.parametrize("timeout", [0, -0.5, -2, -math.inf])
def test_a_deadline_that_has_passed_is_not_waited_for(db: DB, timeout: float) -> None:
    with db.lock(b"k"), in_time():
        assert not db.lock(b"k").acquire(timeout=timeout)
    lock = db.lock(b"k")
    assert lock.acquire(timeout=timeout)
    lock.release()


@pytest.mark.parametrize("timeout", [math.nan, None, "1"])
def test_what_is_no_number_of_seconds_is_refused(db: DB, timeout: Any) -> None:
    with pytest.raises(stratakv.LockError, match="number of seconds"):
        db.lock(b"k").acquire(timeout=timeout)


def test_it_is_free_when_the_block_ends_with_an_error(db: DB) -> None:
    with pytest.raises(ZeroDivisionError), db.lock(b"page"):
        _ = 1 / 0
    assert not db.lock(b"page").locked()


def test_another_thread_may_release_it(db: DB) -> None:
    lock = db.lock(b"page")
    lock.acquire()
    releasing = threading.Thread(target=lock.release)
    releasing.start()
    releasing.join()
    assert not lock.locked()


def test_what_is_not_held_cannot_be_released(db: DB) -> None:
    lock, another = db.lock(b"page"), db.lock(b"page")
    lock.acquire()
    with pytest.raises(stratakv.LockError, match=r"b'page' of .* is not held"):
        another.release()
    assert lock.locked()
    lock.release()
    with pytest.raises(stratakv.LockError):
        lock.release()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_is_free_when_nobody_can_release_it_any_more(db: DB) -> None:
    lock = db.lock(b"page")
    lock.acquire()
    del lock
    gc.collect()
    assert not db.lock(b"page").locked()


def test_it_outlives_the_handle(db: DB, path: Path) -> None:
    lock = db.lock(b"page")
    lock.acquire()
    db.close()
    with stratakv.open(path, maintenance="manual") as again:
        assert again.lock(b"page").locked()
        lock.release()
        assert not again.lock(b"page").locked()


def test_a_store_with_locks_is_sound(db: DB, path: Path, tmp_path: Path) -> None:
    with db.lock(b"page"):
        db.put(b"page", b"value")
        assert db.verify().damage == ()
        db.backup(tmp_path / "copy")
    db.close()
    assert stratakv.recover(path).findings == ()
    with stratakv.open(tmp_path / "copy") as copy:
        assert copy.get(b"page") == b"value"


def test_bad_use_is_refused(db: DB, path: Path) -> None:
    with pytest.raises(stratakv.InvalidKeyError):
        db.lock("page")  # type: ignore[arg-type]
    with pytest.raises(stratakv.InvalidKeyError):
        db.lock(b"")
    with stratakv.open(path, read_only=True) as reader, pytest.raises(stratakv.ReadOnlyError):
        reader.lock(b"page")
    db.close()
    with pytest.raises(stratakv.ClosedError):
        db.lock(b"page")


def test_what_the_file_system_refuses_is_said(db: DB, path: Path) -> None:
    (path / "keys.lock").mkdir()
    lock = db.lock(b"page")
    for call in (lock.acquire, lock.locked):
        with pytest.raises(stratakv.StorageError, match=r"keys\.lock"):
            call()


def test_a_lock_that_was_not_taken_leaves_no_file_open(db: DB) -> None:
    with db.lock(b"page"):
        before = descriptors_open()
        another = db.lock(b"page")
        assert not another.acquire(blocking=False)
        assert not another.acquire(timeout=0.001)
        assert another.locked()
        assert descriptors_open() == before


def test_a_forked_child_does_not_hold_it(db: DB) -> None:
    lock = db.lock(b"page")

    def child() -> None:
        assert lock.locked()  # by the parent
        assert not db.lock(b"page").acquire(blocking=False)
        with pytest.raises(stratakv.LockError):
            lock.release()

    with lock:
        assert run(child) == [0]
        assert lock.locked()


def test_a_child_that_is_forked_while_a_thread_waits_does_not_keep_it(db: DB) -> None:
    """Once the thread has it, the parent dies."""
    ends, goes_on = os.pipe()
    has_begun, begun = os.pipe()

    def parent() -> None:
        first, second = db.lock(b"page"), db.lock(b"page")
        first.acquire()
        files = len(key_lock._files)
        waits = threading.Thread(target=second.acquire, daemon=True)
        waits.start()
        wait_until(lambda: len(key_lock._files) > files)  # then it has its own open, and is waiting
        if os.fork() == 0:
            os.close(goes_on)
            os.write(begun, b"1")
            os.read(ends, 1)  # until the test is over
            os._exit(0)
        os.read(has_begun, 1)  # before it has, it keeps all that its parent had
        first.release()
        waits.join()

    try:
        assert run(parent) == [0]
        assert not db.lock(b"page").locked()
    finally:
        for fd in (ends, goes_on, has_begun, begun):
            os.close(fd)


def test_a_forked_child_may_leave_the_block(db: DB) -> None:
    lock = db.lock(b"page")

    def child() -> None:
        lock.__exit__(None, None, None)

    with lock:
        assert run(child) == [0]
        assert db.lock(b"page").locked()
