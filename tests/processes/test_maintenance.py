"""The maintenance process: when it runs, when it ends, and what it costs to kill it, which is nothing."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.files import Files
from stratakv.locks import FileLock
from stratakv.maintenance import keeper
from stratakv.maintenance.work import Maintenance
from stratakv.processes import give_way
from tests.engine.machine import in_time
from tests.support.children import run
from tests.support.waiting import wait_until

OPTIONS = {"durability": "os", "segment_bytes": 64 * 1024}
KILLS = int(os.environ.get("STRATAKV_MAINTENANCE_KILLS", "200"))
SECONDS = 30


def finished(db: DB) -> bool:
    return all(entry.finished for entry in db._store.structure.current().manifest.segments)


def segments(db: DB) -> int:
    return len(db.stats().segments)


def fill(db: DB, rounds: int = 20) -> None:
    for number in range(rounds * 60):
        db.put(b"%d" % number, bytes(1000))


def child(db: DB) -> int | None:
    """The process id of the child that this process has started, if there is one."""
    assert db._store.keeper
    started = db._store.keeper._child
    return started.pid if started else None


def kill_child(db: DB) -> None:
    pid = child(db)
    with suppress(ProcessLookupError):  # it may have ended, or been ended as it fell behind
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def resting(db: DB) -> int:
    """Have a child that has done some work and rests, without any lock; return its process id."""
    fill(db, 2)
    wait_until(lambda: finished(db) and db._store.maintenance._can_have("maintenance.lock"))
    pid = child(db)
    assert pid
    return pid


def blocked(process: int, thread: int | None) -> int:
    """The signals that a thread leaves to others, a bit for each."""
    status = Path(f"/proc/{process}/task/{thread}/status").read_text()
    return int(status.partition("SigBlk:")[2].split()[0], 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_PATIENCE", 0.02)


@pytest.fixture
def db(path: Path) -> Iterator[DB]:
    with stratakv.open(path, **OPTIONS) as db:
        yield db


def test_it_starts_when_there_is_work_and_ends_when_there_is_none(db: DB, path: Path) -> None:
    assert child(db) is None
    fill(db)
    wait_until(lambda: child(db) is not None)
    wait_until(lambda: finished(db) and segments(db) < 12)
    wait_until(lambda: child(db) is None)
    assert not list(path.glob("*.tmp"))
    assert db.verify().ok


def test_signals_are_left_to_the_threads_of_the_program(path: Path) -> None:
    """A handler in C, as uWSGI's, ends the process in whatever thread the kernel has chosen."""
    with stratakv.open(path, durability="interval", segment_bytes=64 * 1024) as db:
        fill(db)

        def heeds_signals() -> bool:  # or `kill` would not end it
            started = child(db)  # another one by now, maybe: it falls behind what was written at once
            with suppress(FileNotFoundError, ProcessLookupError):
                return started is not None and not blocked(started, started)
            return False

        wait_until(heeds_signals)
        store, here = db._store, os.getpid()
        assert store.keeper
        for thread in (store.syncer.thread, store.keeper._thread):
            assert thread
            wait_until(lambda thread=thread: blocked(here, thread.native_id) >> (signal.SIGTERM - 1) & 1)
        assert not blocked(here, here)


def test_it_works_for_writers_that_are_gone(path: Path) -> None:
    with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
        fill(db)
    with stratakv.open(path, **OPTIONS) as db:
        wait_until(lambda: finished(db))


def test_it_ends_with_the_process_that_started_it(path: Path) -> None:
    db = stratakv.open(path, **OPTIONS)
    fill(db)
    wait_until(lambda: child(db) is not None)
    pid = child(db)
    db.close()
    assert pid is not None
    assert not is_running(pid)
    stratakv.recover(path)  # nobody else has it open


def test_another_process_starts_one_when_it_was_killed(db: DB, path: Path) -> None:
    """The store is open in two processes; the child of one is killed, and that one is, too."""

    def other() -> None:
        with stratakv.open(path, **OPTIONS) as mine:
            fill(mine)
            wait_until(lambda: child(mine) is not None)
            kill_child(mine)
            os._exit(0)

    assert run(other) == [0]
    db.put(b"wakes", bytes(64 * 1024))
    wait_until(lambda: finished(db))


def test_a_killed_one_is_started_again(db: DB) -> None:
    for _ in range(3):
        fill(db)
        wait_until(lambda: child(db) is not None)
        kill_child(db)
    wait_until(lambda: finished(db))


class TestPriority:
    """It takes less than others, unless it falls behind."""

    here = os.getpriority(os.PRIO_PROCESS, 0)
    group = Path("/proc/self/autogroup")

    @staticmethod
    def nice(pid: int) -> int:
        return os.getpriority(os.PRIO_PROCESS, pid)

    def test_it_gives_way(self, db: DB) -> None:
        fill(db, 2)
        wait_until(lambda: child(db))
        pid = child(db)
        assert pid
        wait_until(lambda: self.nice(pid) == min(self.here + 5, 19))
        if self.group.exists():
            wait_until(lambda: Path(f"/proc/{pid}/autogroup").read_text().endswith("nice 5\n"))

    def test_of_a_session_that_is_not_its_own_it_leaves_the_priority(self) -> None:
        if not self.group.exists():
            pytest.skip("this kernel has no autogroups")
        before = self.group.read_text()
        assert run(give_way) == [0]
        assert self.group.read_text() == before

    def test_it_does_not_where_much_waits(self, path: Path) -> None:
        with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
            fill(db)
        with stratakv.open(path, **OPTIONS) as db:
            wait_until(lambda: finished(db))
            pid = child(db)
            assert pid
            assert self.nice(pid) == self.here

    def test_one_that_falls_behind_is_replaced_by_one_that_does_not(
        self, db: DB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "_LOOK", 0.05)
        slow = resting(db)
        os.kill(slow, signal.SIGSTOP)  # as good as without a processor
        fill(db)
        wait_until(lambda: finished(db))
        assert not is_running(slow)
        pid = child(db)
        assert pid
        assert self.nice(pid) == self.here


def test_there_is_one_for_all_processes(db: DB, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two tasks, when maintenance.lock is free: a site has dozens of processes that watch."""
    monkeypatch.setattr(keeper, "_LOOK", 3600.0)
    first = resting(db)
    os.kill(first, signal.SIGSTOP)
    assert not db._store.maintenance.is_free()
    fill(db, 4)
    assert Files().start_python("stratakv.keep", str(path), '{"durability": "os"}').wait(SECONDS) == 0
    assert not finished(db)
    os.kill(first, signal.SIGCONT)
    wait_until(lambda: finished(db))
    wait_until(lambda: not is_running(first) and child(db) is None)
    assert db._store.maintenance.is_free()


def test_one_whose_parent_was_killed_ends(path: Path) -> None:
    """Nobody would see it fall behind."""

    def start() -> None:
        pid = resting(stratakv.open(path, **OPTIONS))
        os.kill(pid, signal.SIGSTOP)
        (path.parent / "pid").write_text(str(pid))
        os.kill(os.getpid(), signal.SIGKILL)

    run(start)
    pid = int((path.parent / "pid").read_text())
    with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
        fill(db)
        os.kill(pid, signal.SIGCONT)
        state = Path(f"/proc/{pid}/stat")
        wait_until(lambda: not state.exists() or ") Z " in state.read_text())
        assert not finished(db)


def test_it_may_open_more_files_than_the_process_that_starts_it(path: Path) -> None:
    """Else a store with too many segments for its writers would have too many for ever."""
    with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
        for number in range(30):
            db.put(b"%d" % number, b"v")
            db.delete_prefix(b"none")

    def start() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        assert Files().start_python("stratakv.keep", str(path), '{"durability": "os"}').wait() == 0

    assert run(start) == [0]
    with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
        assert finished(db)
        assert segments(db) < 12


def test_where_no_child_can_be_started_a_thread_does_it(
    db: DB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, errors: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Files, "start_python", refuse)
    fill(db)
    wait_until(lambda: finished(db) and segments(db) < 12)
    assert "a thread does it" in caplog.text


def test_closing_does_not_wait_for_the_thread(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, errors: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Files, "start_python", refuse)
    monkeypatch.setattr(keeper, "_YIELD", 3600.0)  # the thread would be at it for ever
    fill(db)
    wait_until(lambda: not db._store.maintenance.is_free())
    db.close()


def test_closing_does_not_wait_for_whoever_else_is_at_work(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may be at one large merge, or stopped; here it began when our thread had just looked."""

    def refuse(*arguments: object, errors: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Files, "start_python", refuse)
    monkeypatch.setattr(Maintenance, "is_free", lambda self: True)
    fill(db, rounds=1)
    wait_until(lambda: finished(db))
    other = FileLock(db._store.directory, "maintenance.lock", write=True)
    other.exclusive()
    fill(db)
    wait_until(lambda: db._store.maintenance._lock is not None)
    with in_time():
        db.close()
    other.free()


def test_a_child_that_fails_is_no_reason_to_stop(
    db: DB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot open the store, for example, since its Python lacks a package."""
    real = Files.start_python
    monkeypatch.setattr(
        Files,
        "start_python",
        lambda files, *_, errors: real(files, "stratakv.no_such_module", errors=errors),
    )
    fill(db)
    wait_until(lambda: finished(db))
    assert "failed with status 1" in caplog.text
    assert "No module named stratakv.no_such_module" in caplog.text
    fill(db)
    wait_until(lambda: finished(db))
    assert caplog.text.count("failed with status 1") == 1, "it was tried again at once"


def test_a_child_that_a_filter_of_system_calls_ends(
    db: DB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one of systemd does; a child is not started in vain for ever."""
    monkeypatch.setattr(keeper.Keeper, "_run_child", lambda self: (-signal.SIGSYS, ""))
    fill(db)
    wait_until(lambda: finished(db))
    assert caplog.text.count(f"was ended by signal {signal.SIGSYS:d}") == 1


def test_a_child_that_cannot_be_listened_to(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that was built for an old C library has no files in memory."""
    monkeypatch.delattr(os, "memfd_create")
    fill(db)
    wait_until(lambda: child(db) is not None)
    wait_until(lambda: finished(db))


def test_damage_is_no_reason_not_to_start_one_again(
    db: DB, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    real, watch = keeper.Keeper._run_child, db._store.keeper
    assert watch

    def told(self: keeper.Keeper) -> tuple[int, str]:
        status, reason = real(self)
        ran.append(status)
        return status, reason

    monkeypatch.setattr(keeper.Keeper, "_run_child", told)
    db.put(b"0", bytes(1000))
    with (path / "000001.log").open("r+b") as log:
        log.seek(200)
        log.write(b"damage")
    fill(db)
    wait_until(lambda: len(ran) > 0)

    def ran_again() -> bool:
        # Maybe more than once: the thread takes one task of those there are, which may be another by then.
        if watch._child is None and watch._maintenance.due.next_task() is None:
            fill(db)
        return len(ran) > 1

    wait_until(ran_again)
    assert keeper.DAMAGED in ran


def test_a_thread_does_not_go_on_for_a_child_that_met_damage(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one task, to learn of the damage; the next child does what there is to do by then."""
    calls: list[str] = []
    real = Maintenance._do

    def do(self: Maintenance, *arguments: Any) -> None:
        calls.append("task")
        real(self, *arguments)

    def run_child(self: keeper.Keeper) -> tuple[int, str]:
        calls.append("child")
        return keeper.DAMAGED, "damage"

    monkeypatch.setattr(Maintenance, "_do", do)
    monkeypatch.setattr(keeper.Keeper, "_run_child", run_child)
    watch = db._store.keeper
    assert watch
    watch._patience = 0.0
    fill(db)
    wait_until(lambda: finished(db))
    assert calls.count("task") > 1
    assert set(calls[::2]) == {"child"}
    assert set(calls[1::2]) == {"task"}


def test_nothing_runs_where_it_is_left_to_the_commands(path: Path) -> None:
    with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
        fill(db)
        assert db._store.keeper is None
        before = segments(db)
        time.sleep(0.2)
        assert segments(db) == before
        db.maintain()
        assert finished(db)


def test_a_forked_child_has_a_watch_of_its_own(db: DB) -> None:
    fill(db, rounds=1)

    def work() -> None:
        fill(db)
        wait_until(lambda: finished(db) and segments(db) < 12)

    assert run(work, work) == [0, 0]


def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(path: Path) -> None:
    """The parent is killed while it compacts; a child that it forked before that lives on."""
    read, write = os.pipe()

    def parent() -> None:
        db = stratakv.open(path, **OPTIONS, maintenance="manual")
        fill(db)
        with db._store.maintenance.elected():
            forked = os.fork()
            if not forked:
                os.close(write)
                time.sleep(20)
                os._exit(0)
            os.write(write, b"%d" % forked)
            os.kill(os.getpid(), signal.SIGKILL)

    assert run(parent) == [-signal.SIGKILL]
    forked = int(os.read(read, 20))
    try:
        with stratakv.open(path, **OPTIONS, maintenance="manual") as db:
            assert db._store.maintenance.is_free()
            db.maintain()
            assert finished(db)
    finally:
        os.kill(forked, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_what_expires_goes_by_itself(db: DB) -> None:
    for number in range(120):
        db.put(b"%d" % number, bytes(1000), ttl=1.5)
    before = segments(db)
    assert before > 1
    wait_until(lambda: segments(db) == 1)
    assert db.stats().hits == db.stats().misses == 0, "nobody read anything"


def test_nothing_is_lost_while_a_busy_store_is_maintained(path: Path) -> None:
    """Segments of many blocks, a quarter of the keys overwritten again and again, and many deleted."""
    chance = random.Random(3)
    keys = [b"%064x" % chance.getrandbits(256) for _ in range(4000)]
    model: dict[bytes, bytes] = {}
    with stratakv.open(path, durability="os", segment_bytes=4 * 2**20) as db:
        for number in range(30_000):
            key = keys[number] if number < len(keys) else chance.choice(keys[:1000])
            model[key] = b"%d:" % number + chance.randbytes(2000)
            db.put(key, model[key])
        for key in chance.choices(keys, k=3000):
            assert db.delete(key) == (model.pop(key, None) is not None)
        wait_until(lambda: finished(db) and db._store.maintenance.due.next_task() is None)
        assert db.stats().rewritten_bytes > 0
        assert dict(db.scan()) == model
        assert {key: db.get(key) for key in keys} == {key: model.get(key) for key in keys}
        assert db.verify().damage == ()


class Killed:
    """A maintenance process, killed at a random moment, again and again, while this one goes on writing."""

    def __init__(self, db: DB, path: Path, seed: int) -> None:
        self.db = db
        self.path = path
        self.chance = random.Random(seed)
        self.model: dict[bytes, bytes] = {}
        self.version = 0

    def churn(self) -> None:
        for _ in range(200):
            key = b"key-%d" % self.chance.randrange(800)
            if self.chance.random() < 0.1:
                self.db.delete(key)
                self.model.pop(key, None)
            else:
                self.version += 1
                self.model[key] = b"%d:" % self.version + self.chance.randbytes(self.chance.randrange(1500))
                self.db.put(key, self.model[key])

    def kill_one(self) -> bool:
        """Let a maintenance process run for a moment; return whether it had begun."""
        options = '{"durability": "os", "maintenance": "manual", "segment_bytes": 65536}'
        before = self.db.stats().generation
        started = Files().start_python("stratakv.keep", str(self.path), options)
        while self.db._store.maintenance.is_free() and started.poll() is None:  # however long Python takes
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.15))
        started.kill()
        started.wait()
        return self.db.stats().generation > before or not self.nothing_left_over()

    def nothing_left_over(self) -> bool:
        named = {f"{number:06d}" for number in self.db._store.structure.current().manifest.numbers()}
        files = {file.stem for kind in ("log", "idx") for file in self.path.glob(f"*.{kind}")}
        return files == named and not list(self.path.glob("*.tmp"))

    def tidy(self) -> None:
        self.db.maintain()
        assert self.db.verify().damage == ()
        assert self.nothing_left_over()


@pytest.mark.parametrize("max_bytes", [None, 2**20])
def test_killed_at_random_moments(path: Path, max_bytes: int | None) -> None:
    """While merging and while evicting: the store stays clean, and what is live stays."""
    with stratakv.open(path, **OPTIONS, maintenance="manual", max_bytes=max_bytes) as db:
        killed = Killed(db, path, seed=5)
        at_work = 0
        for number in range(KILLS // 2):
            killed.churn()
            at_work += killed.kill_one()
            if max_bytes is None:
                assert dict(db.scan()) == killed.model
            for key, value in killed.model.items():
                found = db.get(key)
                assert found == value or (max_bytes and found is None)
            assert all(db.get(b"key-%d" % n) is None for n in range(800) if b"key-%d" % n not in killed.model)
            if number % 10 == 9:
                killed.tidy()
        killed.tidy()
        assert at_work > KILLS // 4, "too few of them were killed at work"
