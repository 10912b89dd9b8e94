"""A store and one forked child."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv import open_stores as store_module
from stratakv.files import Files
from stratakv.gathering import Gathering, Wish
from stratakv.locks import FileLock
from tests.support.children import Child, fork_in_c, run

Open = Callable[..., DB]


def in_thread(work: Callable[..., object], *arguments: object) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work, *arguments).result()


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a child and fail where it does."""
    assert run(work) == [0]


def test_both_go_on(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "store", durability="os", segment_bytes=4096)
    db.put(b"parent", b"v")

    def work() -> None:
        assert db.get(b"parent") == b"v"
        for number in range(300):
            db.put(b"child %d" % number, b"v")
        db.close()

    in_child(work)
    assert db.get(b"child 299") == b"v"
    db.put(b"after", b"v")
    assert len(dict(db.scan())) == 302
    assert db.verify().ok
    db.close()


def test_a_child_that_only_closes(tmp_path: Path) -> None:
    """Its locks are gone already; their numbers may be those of its own files by now."""
    db = stratakv.open(tmp_path / "store", durability="os")
    db.put(b"k", b"v")

    def work() -> None:
        own = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
        db.close()
        for fd in own:
            os.fstat(fd)

    in_child(work)
    db.put(b"l", b"v")
    assert dict(db.scan()) == {b"k": b"v", b"l": b"v"}
    db.close()


def test_a_grandchild_of_a_child_that_did_nothing(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "store", durability="os")
    db.put(b"k", b"v")

    def work() -> None:
        own = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
        in_child(lambda: db.put(b"grandchild", b"v"))
        for fd in own:
            os.fstat(fd)

        def fds_are_there() -> None:
            for fd in own:
                os.fstat(fd)

        in_child(fds_are_there)
        assert db.get(b"grandchild") == b"v"

    in_child(work)
    assert db.get(b"grandchild") == b"v"
    db.close()


def test_the_child_does_not_hold_the_parents_locks(tmp_path: Path) -> None:
    """The parent closes while its child lives on, unused: the store is then alone for who recovers it."""
    db = stratakv.open(tmp_path / "store", durability="os")
    read, write = os.pipe()
    ready, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.write(begun, b"1")
        os.read(read, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        db.put(b"k", b"v")
        db.close()
        stratakv.recover(tmp_path / "store")
    finally:
        for fd in (read, write, ready, begun):
            os.close(fd)
        os.waitpid(pid, 0)


def test_a_child_that_was_forked_during_maintenance(tmp_path: Path) -> None:
    """It keeps nothing of the lock of that: should its parent die, somebody else must get it."""
    db = stratakv.open(tmp_path / "store", durability="os")
    db.put(b"k", b"v")

    def child() -> None:
        held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert str(tmp_path / "store" / "maintenance.lock") not in held
        db.put(b"child", b"v")
        db.compact()

    with db._store.maintenance.elected():
        forked = Child(child)
    db.compact()
    assert forked.wait() == 0
    assert dict(db.scan()) == {b"k": b"v", b"child": b"v"}
    db.close()


def test_a_child_of_who_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stratakv.open(tmp_path / "store") as db:
        db.put(b"k", b"v")
    monkeypatch.setattr(Files, "can_write", lambda self, path: False)
    with stratakv.open(tmp_path / "store", read_only=True) as db:

        def child() -> None:
            assert db.get(b"k") == b"v"

        assert run(child) == [0]


def test_the_counts_of_a_parent_stay_its_own(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "store", durability="os")
    db.put(b"k", b"v")

    def work() -> None:
        for _ in range(10):
            db.get(b"k")
        db.close()

    in_child(work)
    in_child(lambda: db.close())
    db.get(b"k")
    assert db.stats().hits == 11
    db.close()


def test_a_transaction_belongs_to_the_process_that_began_it(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "store", durability="os")
    children: list[int] = []

    def begin() -> Any:
        with db.transaction() as tx:
            tx.put(b"k", b"v")
            children.append(os.fork())

    try:
        begin()
    except stratakv.TransactionError:
        os._exit(0 if children == [0] else 1)
    if children == [0]:
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert dict(db.scan()) == {b"k": b"v"}
    db.close()


class TestInC:
    """Children of which Python hears nothing, as uWSGI makes them."""

    @pytest.mark.parametrize("durability", ["os", "interval", "always"])
    def test_all_go_on(self, tmp_path: Path, durability: str) -> None:
        db = stratakv.open(tmp_path / "store", durability=durability, segment_bytes=16 * 1024)
        db.put(b"parent", b"v")

        def work(name: int) -> None:
            for number in range(300):
                db.put(b"%d %d" % (name, number), bytes(100))
                db.incr(b"count")
            db.close()

        children = [Child(partial(work, name), fork_in_c) for name in range(3)]
        work_of_parent = [db.incr(b"count") for _ in range(300)]
        assert [child.wait() for child in children] == [0, 0, 0]
        assert len(set(work_of_parent)) == 300
        assert db.get(b"count") == b"1200"
        assert len(dict(db.scan())) == 902
        assert db.verify().ok
        db.close()

    @pytest.mark.parametrize(
        "act",
        [
            lambda db: db.incr(b"k"),
            lambda db: db.delete(b"k"),
            lambda db: db.put_many({b"k": b"1"}),
            lambda db: db.sync(),
            lambda db: db.compact(),
            lambda db: db.maintain(),
            lambda db: db.clear(),
            lambda db: db.close(),
            lambda db: store_module._close_all(),
            lambda db: stratakv.open(db.path, durability="os").close(),
        ],
    )
    def test_whatever_comes_first_leaves_the_parents_locks(
        self, tmp_path: Path, act: Callable[[DB], object]
    ) -> None:
        db = stratakv.open(tmp_path / "store", durability="os")
        db.put(b"k", b"1")
        assert run(lambda: act(db), fork=fork_in_c) == [0]
        with pytest.raises(stratakv.StoreBusyError):  # this process still has it open
            stratakv.recover(tmp_path / "store")
        db.close()

    @pytest.mark.parametrize(
        ("durability", "act"),
        [
            ("os", lambda db: db.get(b"k")),
            ("os", lambda db: db.put(b"k", b"2")),
            ("os", lambda db: db.put_many({b"k": b"2"})),
            ("os", lambda db: db.sync()),
            ("os", lambda db: db.compact()),
            # Of two threads the second: the first may have the number that the one of the parent had.
            ("always", lambda db: in_thread(in_thread, db.put, b"k", b"2")),
        ],
    )
    def test_what_a_thread_of_the_parent_holds(
        self, tmp_path: Path, durability: str, act: Callable[[DB], object]
    ) -> None:
        """There is no such thread in the child, and nobody to let go of it."""
        db = stratakv.open(tmp_path / "store", durability=durability)
        db.put(b"k", b"1")
        store = db._store
        company: Gathering[Any] = store.group._gathering
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            if durability == "always":
                leads = Wish()
                company.join(leads)
                held.set()
                over.wait(60)
                company.leave(leads)
                return
            locks = store.structure._refreshing, store.syncer._gathering._turn, store.maintenance._turn
            with db.transaction(), locks[0], locks[1], locks[2]:
                held.set()
                over.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(60)
        read, write = os.pipe()

        def child() -> None:
            signal.alarm(20)
            os.read(read, 1)
            act(db)

        begun = Child(child, fork_in_c)
        over.set()
        thread.join()
        db.delete_prefix(b"other")  # so that there is a view to be made
        os.write(write, b"1")
        assert begun.wait() == 0
        os.close(read)
        os.close(write)
        db.close()

    def test_a_lock_on_a_key_that_it_takes_before_it_writes(self, tmp_path: Path) -> None:
        db = stratakv.open(tmp_path / "store", durability="os")

        def child() -> None:
            with db.lock(b"page"):
                db.put(b"k", b"v")
                assert not db.lock(b"page").acquire(blocking=False)

        assert run(child, fork=fork_in_c) == [0]
        db.close()

    def test_a_lock_on_a_key_stays_its_parents(self, tmp_path: Path) -> None:
        db = stratakv.open(tmp_path / "store", durability="os")
        lock = db.lock(b"page")
        with lock:
            assert run(lambda: lock.__exit__(None, None, None), fork=fork_in_c) == [0]
            assert not db.lock(b"page").acquire(blocking=False)
        db.close()

    @pytest.mark.parametrize("ends", [True, False])
    def test_a_transaction_stays_its_parents(self, tmp_path: Path, ends: bool) -> None:
        db = stratakv.open(tmp_path / "store", durability="os")
        whose = db.transaction()
        tx = whose.__enter__()

        def child() -> None:
            tx.put(b"child", b"v")
            if ends:
                with pytest.raises(stratakv.TransactionError):
                    whose.__exit__(None, None, None)
            else:
                whose.__exit__(KeyError, KeyError(), None)

        assert run(child, fork=fork_in_c) == [0]
        other = FileLock(db._store.directory, "writer.lock", write=True)
        assert not other.try_exclusive()
        tx.put(b"k", b"v")
        whose.__exit__(None, None, None)
        assert dict(db.scan()) == {b"k": b"v"}
        db.close()
