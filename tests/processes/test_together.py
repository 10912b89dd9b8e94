"""Several processes and threads on one store: fork before and after opening, opening at the same moment,
sleeping through change, and ending in every order."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv.files import Files
from stratakv.maintenance import keeper
from tests.engine.machine import path_of
from tests.support.children import Child, run
from tests.support.users import let_in
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SMALL = {"durability": "os", "segment_bytes": 8192}


class Gate:
    """Lets children wait until the parent opens it, or the other way round."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def open(self, times: int = 1) -> None:
        os.write(self._writer, b"." * times)

    def wait(self) -> None:
        os.read(self.reader, 1)

    def is_open(self) -> bool:
        poll = select.poll()
        poll.register(self.reader, select.POLLIN)
        return bool(poll.poll(0))


def test_children_forked_with_the_store_open_write_to_it(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", **SMALL)
    db.put(b"before", b"fork")

    def count() -> None:
        assert db.get(b"before") == b"fork"
        for _ in range(200):
            db.incr(b"n")

    assert run(count, count, count, count) == [0, 0, 0, 0]
    count()
    assert db.get(b"n") == b"1000"


def test_a_child_forked_inside_another_threads_commit_is_not_stuck(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", **SMALL)
    ending = threading.Event()

    def write() -> None:
        while not ending.is_set():
            db.put(b"busy", b"x" * 1000)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(50):
            key = b"child-%d" % number
            assert run(lambda key=key: db.put(key, b"1")) == [0]  # type: ignore[misc]
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert len(list(db.scan(prefix=b"child-"))) == 50
    assert db.verify().damage == ()


def test_a_forked_child_does_not_hold_its_parents_locks(tmp_path: Path) -> None:
    """A child that never touches the store keeps nobody from having it alone."""
    db = stratakv.open(tmp_path / "s", **SMALL)
    db.put(b"k", b"v")
    gate = Gate()
    child = Child(gate.wait)
    db.close()
    assert stratakv.recover(tmp_path / "s").records == 1
    gate.open()
    assert child.wait() == 0


def test_a_forked_child_keeps_no_lock_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    """The kernel frees the locks of the dead, but for those that somebody else has inherited open."""
    begun, gate = Gate(), Gate()

    def child() -> None:
        begun.open()
        gate.wait()

    def parent() -> None:
        db = stratakv.open(tmp_path / "s", **SMALL)
        db.put(b"k", b"v")
        with db.transaction():
            Child(child)
            begun.wait()
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        assert Child(parent).wait() == -signal.SIGKILL
        assert stratakv.recover(tmp_path / "s").records == 1
        with stratakv.open(tmp_path / "s", **SMALL) as db:
            db.put(b"k", b"newer")
    finally:
        gate.open()


def test_a_child_uses_a_store_that_its_parent_has_closed(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", **SMALL)
    db.put(b"k", b"v")
    gate = Gate()

    def later() -> None:
        gate.wait()
        assert db.get(b"k") == b"v"
        db.put(b"k", b"of the child")

    child = Child(later)
    db.close()
    gate.open()
    assert child.wait() == 0
    with stratakv.open(tmp_path / "s", **SMALL) as again:
        assert again.get(b"k") == b"of the child"


def test_a_transaction_in_the_parent_keeps_the_child_out(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", **SMALL)
    with db.transaction() as tx:
        child = Child(lambda: db.put(b"k", b"child"))
        tx.put(b"k", b"parent")
    assert child.wait() == 0
    assert db.get(b"k") == b"child"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_handle_is_handed_to_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put = methodcaller("put", b"child", b"v")
    with stratakv.open("store", durability="os", segment_bytes=8192) as db:
        context = multiprocessing.get_context(method)
        monkeypatch.chdir("/")  # where the store is does not depend on it
        child = context.Process(target=put, args=(db,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert db.get(b"child") == b"v"


def test_a_pickled_handle_opens_the_same_store(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "store", durability="os", segment_bytes=8192)
    db.put(b"k", b"v")
    pickled = pickle.dumps(db)
    db.close()
    with pytest.raises(stratakv.ClosedError):
        pickle.dumps(db)
    with pickle.loads(pickled) as again:
        assert again.get(b"k") == b"v"
        assert repr(again) == f"<stratakv.DB {str(tmp_path / 'store')!r} (os)>"
        with copy.copy(again) as another:  # with the same options, else it is refused
            assert another.get(b"k") == b"v"
        assert again.get(b"k") == b"v"


def test_an_interval_sync_thread_starts_again_in_a_child(tmp_path: Path) -> None:
    options = {"durability": "interval", "sync_interval": 0.01}
    db = stratakv.open(tmp_path / "s", **options)
    db.put(b"k", b"v")

    def work() -> None:
        db.put(b"child", b"v")
        for _ in range(500):
            if db.stats().unsynced_bytes == 0:
                return
            threading.Event().wait(0.01)
        raise AssertionError("nothing was synced")

    assert run(work) == [0]


def test_many_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"s{attempt}"
        gate = Gate()

        def first(path: Path = path, gate: Gate = gate) -> None:
            gate.wait()
            with stratakv.open(path, **SMALL) as db:
                db.incr(b"n")

        children = [Child(first) for _ in range(6)]
        gate.open(6)
        assert [child.wait() for child in children] == [0] * 6
        with stratakv.open(path, **SMALL) as db:
            assert db.get(b"n") == b"6"


def test_processes_that_open_and_close_all_the_time_meet_in_one_store(tmp_path: Path) -> None:
    """Being the first and being the last change hands hundreds of times."""

    def work() -> None:
        for _ in range(100):
            with stratakv.open(tmp_path / "s", **SMALL) as db:
                db.incr(b"n")

    assert run(work, work, work, work) == [0] * 4
    with stratakv.open(tmp_path / "s", **SMALL) as db:
        assert db.get(b"n") == b"400"
        assert db.verify().damage == ()


def _churn(path: Path) -> None:
    with stratakv.open(path, **SMALL) as db:
        for turn in range(30):
            db.put_many({b"k%03d" % number: b"%d" % turn + bytes(100) for number in range(50)})
            if turn % 10 == 9:
                db.compact()
        db.delete(b"k000")
        db.put(b"k001", b"last")


@pytest.mark.parametrize("wakes", ["reads", "writes", "scans"])
def test_a_process_sleeps_through_rotations_and_compactions(tmp_path: Path, wakes: str) -> None:
    asleep, woken = Gate(), Gate()
    with stratakv.open(tmp_path / "s", **SMALL) as db:
        db.put(b"k000", b"old")

    def sleeper() -> None:
        db = stratakv.open(tmp_path / "s", **SMALL)
        assert db.get(b"k000") == b"old"
        asleep.open()
        woken.wait()
        if wakes == "reads":
            assert db.get(b"k001") == b"last"
            assert db.get(b"k000") is None
        elif wakes == "writes":
            db.put(b"k002", b"mine")
            assert db.get(b"k001") == b"last"
        else:
            assert len(list(db.scan())) == 49

    child = Child(sleeper)
    asleep.wait()
    assert run(lambda: _churn(tmp_path / "s")) == [0]
    woken.open()
    assert child.wait() == 0


def test_a_log_is_sealed_while_it_is_being_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between asking for the size of the log and mapping it, the log is cut."""
    db = stratakv.open(tmp_path / "s", **SMALL)
    db.put(b"k", b"v")
    ask = Files.size
    rotations = iter([None])

    def size_of_a_moment_ago(files: Files, fd: int) -> int:
        size = ask(files, fd)
        if size == SMALL["segment_bytes"]:
            for _ in rotations:
                db.put(b"filler", bytes(9000))
        return size

    monkeypatch.setattr(Files, "size", size_of_a_moment_ago)
    with stratakv.open(tmp_path / "s", read_only=True, **SMALL) as reader:
        assert reader.get(b"k") == b"v"
    assert next(rotations, "used up") == "used up"
    db.close()


def test_opening_while_another_process_rotates_and_compacts(tmp_path: Path) -> None:
    path, ending = tmp_path / "s", Gate()
    options = {"durability": "os", "segment_bytes": 4096}
    with stratakv.open(path, **options) as db:
        db.put(b"k", b"v")

    def churn() -> None:
        with stratakv.open(path, **options) as db:
            while not ending.is_open():
                for _ in range(200):
                    db.put(b"filler", bytes(1500))
                db.compact()

    child = Child(churn)
    for _ in range(300):
        with stratakv.open(path, read_only=True, **options) as db:
            assert db.get(b"k") == b"v"
    ending.open()
    assert child.wait() == 0


def test_a_scan_goes_on_over_segments_that_another_process_removes(tmp_path: Path) -> None:
    with stratakv.open(tmp_path / "s", **SMALL) as db:
        db.put_many({b"k%03d" % number: b"old" + bytes(100) for number in range(200)})
        db.compact()
        db.put(b"k100", b"new")
        scan = db.scan()
        first = next(scan)
        assert run(lambda: _churn(tmp_path / "s")) == [0]
        seen = dict([first, *scan])
    assert len(seen) == 200
    assert seen[b"k100"] == b"new"
    assert seen[b"k001"] == b"old" + bytes(100)


def test_threads_share_a_handle(tmp_path: Path) -> None:
    with stratakv.open(tmp_path / "s", **SMALL) as db:

        def work(thread: int) -> None:
            for number in range(200):
                db.incr(b"n")
                key = b"t%d-%d" % (thread, number)
                db.put(key, key * 10)
                assert db.get(key) == key * 10

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert db.get(b"n") == b"1600"
        assert len(list(db.scan(prefix=b"t"))) == 1600


def test_threads_do_everything_at_once(tmp_path: Path) -> None:
    """Without the GIL, too: on a free-threaded Python they really do."""
    with stratakv.open(tmp_path / "s", durability="os", segment_bytes=2**17) as db:

        def work(thread: int) -> None:
            chance = random.Random(thread)
            acts: list[Callable[[], object]] = [
                lambda: db.delete(b"k%d" % chance.randrange(99)),
                lambda: db.incr(b"n"),
                lambda: db.put_many({b"k%d" % number: b"%d" % thread for number in range(9)}),
                lambda: db.get_many([b"k%d" % number for number in range(99)]),
                lambda: db.touch(b"k%d" % chance.randrange(99), 60),
                lambda: list(db.scan(b"k")),
                db.stats,
            ]
            for number in range(400):
                key, value = b"%d" % thread, b"%d " % number * 20
                db.put(key, value)
                assert db.get(key) == value
                db.get(b"k%d" % chance.randrange(99))
                chance.choice(acts)()
                if number % 100 == 0:
                    assert db.verify().damage == ()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert all(db.get(b"%d" % thread) == b"399 " * 20 for thread in range(8))
        assert db.verify().damage == ()


def test_always_means_synced_for_threads_and_processes(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", durability="always", segment_bytes=8192)

    def work(thread: int) -> None:
        for number in range(20):
            db.put(b"k%d-%d" % (thread, number), bytes(100))

    def in_threads() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))

    assert run(in_threads, in_threads) == [0, 0]
    assert db.stats().unsynced_bytes == 0


def test_processes_that_write_at_once_share_their_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly all of them in each: eight that do not wait for one another have four puts in a sync.

    That is 77 to 80 syncs, and 48 to 60 where they wait, also beside eight other processes that compute. One
    time in three will do: where a processor stands still for a moment, they wait in vain.
    """
    path, syncs, puts, processes = tmp_path / "s", tmp_path / "syncs", 40, 8
    stratakv.open(path).close()
    fdatasync = Files.fdatasync

    def slow(fd: int) -> None:
        if path_of(fd).suffix == ".log":
            with syncs.open("ab") as file:
                file.write(b".")
            time.sleep(0.01)
        fdatasync(fd)

    def work() -> None:
        with stratakv.open(path, durability="always", maintenance="manual") as db:
            for number in range(puts):
                db.put(b"%d-%d" % (os.getpid(), number), b"v")

    monkeypatch.setattr(Files, "fdatasync", staticmethod(slow))
    counts = []
    while len(counts) < 3 and min(counts, default=70) >= 70:
        syncs.write_bytes(b"")
        assert run(*[work] * processes) == [0] * processes
        counts.append(syncs.stat().st_size)
    assert min(counts) < 70
    with stratakv.open(path) as db:
        assert sum(1 for _ in db.scan()) == processes * puts * len(counts)


PROGRAM = """
import stratakv, sys
db = stratakv.open(sys.argv[1], durability="interval", sync_interval=60)
db.put(b"k", b"v")
"""


def test_a_program_that_ends_without_closing_leaves_a_sealed_store(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "s")], check=True)
    with stratakv.open(tmp_path / "s", durability="os") as db:
        assert db.stats().unsynced_bytes == 0
        assert db.get(b"k") == b"v"


def in_group(work: Callable[[], None], user: int, group: int) -> Callable[[], None]:
    def as_user() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        work()

    return as_user


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become two other users")
def test_two_users_of_one_group_share_a_store_and_root_locks_neither_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    let_in(home)
    home.mkdir(mode=0o770)
    os.chown(home, 30001, 30000)
    home.chmod(0o770)
    shared = {**SMALL, "mode": 0o770}

    def write() -> None:
        with stratakv.open(home, **shared) as db:
            for _ in range(300):
                db.incr(b"n")
                db.put(b"filler-%d" % os.getpid(), bytes(300))

    assert run(in_group(write, 30001, 30000)) == [0]
    assert run(in_group(write, 30002, 30000)) == [0]
    write()
    assert run(in_group(write, 30001, 30000), in_group(write, 30002, 30000)) == [0, 0]
    with stratakv.open(home, **shared) as db:
        assert db.get(b"n") == b"1500"


def compact_elsewhere(path: Path) -> None:
    """Compact a store in another process."""
    code = "import sys, stratakv; stratakv.open(sys.argv[1], maintenance='manual').compact()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=30, cwd=ROOT)


def removed_but_mapped(path: Path) -> list[str]:
    """The files of a store that take their space although they were removed, since they are mapped here."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if str(path) in line and line.endswith("(deleted)")]


def test_a_writer_does_not_keep_what_another_process_has_compacted(tmp_path: Path) -> None:
    """A log that was removed takes its space until nobody has it open or mapped any more."""
    path = tmp_path / "s"
    db = stratakv.open(path, **SMALL, maintenance="manual")
    db.put_many({b"%d" % number: b"v" * 100 for number in range(500)})
    db.delete(b"1")
    compact_elsewhere(path)
    assert removed_but_mapped(path)
    assert db.get(b"2")
    assert not removed_but_mapped(path)


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "interval", "sync_interval": 0.05, "maintenance": "manual"},
        {"durability": "os", "maintenance": "auto"},
    ],
    ids=["interval", "auto"],
)
def test_one_that_is_idle_does_not_keep_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(keeper, "_LONGEST_WAIT", 0.05)
    path = tmp_path / "s"
    with stratakv.open(path, **{**SMALL, **options}) as db:
        db.put_many({b"%d" % number: b"v" * 100 for number in range(500)})
        db.delete(b"1")
        db.put(b"2", b"v")
        compact_elsewhere(path)
        wait_until(lambda: not removed_but_mapped(path))


def test_what_one_has_done_shows_after_its_interval(tmp_path: Path) -> None:
    end = Gate()
    options = {**SMALL, "durability": "interval", "sync_interval": 0.05, "maintenance": "manual"}
    with stratakv.open(tmp_path / "s", **options) as db:

        def reads() -> None:
            for _ in range(50):
                db.put(b"k", b"v")
                db.get(b"k")
            end.wait()

        child = Child(reads)
        try:
            wait_until(lambda: db.stats().hits >= 50 and db.stats().records_written >= 50)
        finally:
            end.open()
        assert child.wait() == 0


def test_the_hits_of_one_show_to_others_while_it_lives(tmp_path: Path) -> None:
    """Not each at once, but those before a change of structure when it has noticed that."""
    has_read, has_changed, end = Gate(), Gate(), Gate()
    with stratakv.open(tmp_path / "s", **SMALL, maintenance="manual") as db:
        db.put(b"k", b"v")

        def reads() -> None:
            for _ in range(50):
                db.get(b"k")
            has_read.open()
            has_changed.wait()
            db.get(b"k")
            has_read.open()
            end.wait()

        child = Child(reads)
        has_read.wait()
        db.delete_prefix(b"another")
        has_changed.open()
        has_read.wait()
        hits = db.stats().hits
        end.open()
        assert child.wait() == 0
        assert hits >= 50
