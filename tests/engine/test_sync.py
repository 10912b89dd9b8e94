"""Durability: what is synced when, and what a failed sync means."""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, ReadOnlyError, SyncError, TransactionError
from stratakv.control import W_POISONED, W_SYNCED, W_TIP
from stratakv.errors import storage_error
from stratakv.gathering import Gathering, Wish
from stratakv.log import OFFSET_MASK
from stratakv.sync import Syncer
from tests.engine.machine import Machine, in_time
from tests.support.waiting import wait_until

Open = Callable[..., DB]


def synced(machine: Machine, start: int = 0) -> list[str]:
    """The names of the files and directories that were made durable, in order."""
    return [path.name for name, path in machine.steps[start:] if name in ("fdatasync", "sync_directory")]


def disk_fails(machine: Machine, times: int = 1, suffix: str = ".log") -> None:
    """Let the next syncs of logs fail, as a dying disk does: once each, and then the kernel is content."""
    left = iter(range(times))

    def refuse(name: str, path: Path) -> None:
        if name == "fdatasync" and path.suffix == suffix and next(left, None) is not None:
            raise OSError(5, "Input/output error")

    machine.refuse = refuse


def commit_while_it_closes(db: DB, monkeypatch: pytest.MonkeyPatch) -> memoryview:
    """Have another thread commit once `db` has synced all there was; return the words of CONTROL."""
    real = Syncer.stop

    def stop(self: Syncer) -> None:
        monkeypatch.setattr(Syncer, "stop", real)
        writer.put(b"late", b"v")
        real(self)

    db.sync()
    writer = db._store.writer
    monkeypatch.setattr(Syncer, "stop", stop)
    return db._store.control.words


def rotate(db: DB) -> None:
    db.put(b"~", b"x" * 4000)


class TestLevels:
    def test_always(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        writes: list[Callable[[], object]] = [
            lambda: db.put(b"a", b"1"),
            lambda: db.put_many({b"a": b"2", b"b": b"3"}),
            lambda: db.delete(b"a"),
            lambda: db.add(b"a", b"v"),
            lambda: db.incr(b"n"),
            lambda: db.update(b"n", bytes),
            lambda: db.touch(b"n", 5),
            lambda: db.delete_many([b"a", b"n"]),
            lambda: put_in_transaction(db),
        ]
        for write in writes:
            start = len(machine.steps)
            write()
            assert synced(machine, start) == ["000001.log"]
            assert db.stats().unsynced_bytes == 0

    def test_os(self, db: DB, machine: Machine) -> None:
        start = len(machine.steps)
        db.put(b"k", b"v")
        db.close()
        assert synced(machine, start) == []

    def test_interval(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="interval", sync_interval=0.01)
        start = len(machine.steps)
        db.put(b"k", b"v")
        wait_until(lambda: db.stats().unsynced_bytes == 0)
        assert synced(machine, start) == ["000001.log"]
        time.sleep(0.05)
        assert synced(machine, start) == ["000001.log"], "nothing new, nothing to sync"

    def test_a_handle_that_only_reads_syncs_nothing_when_it_closes(
        self, db: DB, machine: Machine, open_: Open
    ) -> None:
        db.put(b"k", b"v")
        start = len(machine.steps)
        open_(durability="always", read_only=True).close()
        assert synced(machine, start) == []

    def test_interval_syncs_when_it_closes(self, machine: Machine, open_: Open) -> None:
        others = set(threading.enumerate())
        db = open_(durability="interval", sync_interval=3600)
        db.put(b"k", b"v")
        start = len(machine.steps)
        db.close()
        assert synced(machine, start) == ["000001.log"]
        assert set(threading.enumerate()) <= others

    def test_what_other_threads_commit_while_it_closes(
        self, machine: Machine, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db = open_(durability="interval", sync_interval=3600)
        words = commit_while_it_closes(db, monkeypatch)
        db.close()
        assert words[W_SYNCED] == words[W_TIP]

    def test_a_leader_that_cannot_leave_keeps_nobody_waiting(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Signals may interrupt a thread each time that it tries to."""
        db = open_(durability="always")
        leave = Gathering.leave

        def interrupted(gathering: Gathering[Wish], wish: Wish) -> None:
            if wish.thread == threading.get_ident() == threading.main_thread().ident:
                raise TimeoutError
            leave(gathering, wish)

        monkeypatch.setattr(Gathering, "leave", interrupted)
        with pytest.raises(TimeoutError):
            db.put(b"k", b"v")
        in_time(lambda: db.put(b"k", b"1"))
        monkeypatch.undo()
        in_time(lambda: db.put(b"k", b"2"))
        db.put(b"k", b"3")

    def test_threads_that_are_the_first_to_write_start_one_thread(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(threading.Thread):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                made.append(self)
                time.sleep(0.1)
                super().__init__(*arguments, **named)

        made: list[threading.Thread] = []
        db = open_(durability="interval")
        db._store.syncer.stop()
        writers = [threading.Thread(target=db.put, args=(b"k", b"v")) for _ in range(4)]
        monkeypatch.setattr(threading, "Thread", Slow)
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert len(made) == 1

    def test_a_close_while_the_thread_is_being_started(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        starting = threading.Event()

        class Slow(threading.Thread):
            def start(self) -> None:
                starting.set()
                time.sleep(0.1)
                super().start()

        db = open_(durability="interval")
        db._store.syncer.stop()
        writer = threading.Thread(target=db.put, args=(b"k", b"v"))
        monkeypatch.setattr(threading, "Thread", Slow)
        writer.start()
        assert starting.wait(10)
        db.close()
        writer.join()

    def test_where_no_thread_can_be_started_each_write_syncs(
        self, machine: Machine, open_: Open, monkeypatch: pytest.MonkeyPatch, damage_log: list[str]
    ) -> None:
        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        db = open_(durability="interval", sync_interval=3600)
        start = len(machine.steps)
        for key in (b"a", b"b"):
            db.put(key, b"v")
        assert synced(machine, start) == ["000001.log"] * 2
        assert len(damage_log) == 1, "said once"
        db.close()

    def test_sync_covers_the_segments_sealed_since(self, db: DB, machine: Machine) -> None:
        """Oldest first: what survives a power cut in between is a prefix."""
        db.put(b"k", b"v")
        rotate(db)
        rotate(db)
        start = len(machine.steps)
        db.sync()
        assert synced(machine, start) == ["000001.log", "000002.log", "000003.log"]
        db.sync()
        assert len(synced(machine, start)) == 3

    def test_waiting_together_costs_one_write_and_one_sync(self, machine: Machine, open_: Open) -> None:
        """While one sync is under way others come; a single write and sync follow for all of them."""
        db = open_(durability="always")
        disk = SlowDisk(machine)
        threads = disk.gather(db, 7)
        start = len(machine.steps)
        disk.sync_of[1].set()
        disk.sync_of[2].set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert [name for name, _ in machine.steps[start:]] == ["pwrite", "fdatasync"]
        assert dict(db.scan()) == {b"first": b"v"} | {b"%d" % number: b"v" for number in range(7)}

    def test_who_is_covered_waits_for_no_further_sync(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk = SlowDisk(machine)
        threads = disk.gather(db, 6)
        disk.sync_of[1].set()
        disk.wait_for_sync(2)
        last = disk.put(db, b"last")
        wait_until(lambda: waiting(db) == 1)
        disk.sync_of[2].set()
        disk.wait_for_sync(3)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "the third sync is under way, and it is on disk already"
        assert last.is_alive()
        disk.sync_of[3].set()
        last.join()

    def test_each_that_waited_is_a_commit_of_its_own(self, machine: Machine, open_: Open, path: Path) -> None:
        """A power cut inside what was written for several threads costs those that it tore, and no other."""
        db = open_(durability="always")
        disk = SlowDisk(machine)
        threads = disk.gather(db, 3)
        disk.sync_of[1].set()
        disk.wait_for_sync(2)
        tip = db._store.control.words[W_TIP] & OFFSET_MASK
        machine.bury(db)
        machine.reboot()
        with (path / "000001.log").open("r+b") as file:
            file.truncate(tip - 1)
        disk.recover()
        for thread in threads:
            thread.join()
        assert dict(open_().scan()) == {b"first": b"v", b"0": b"v", b"1": b"v"}

    def test_what_cannot_be_written_together_is_written_by_each(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk = SlowDisk(machine)
        threads = disk.gather(db, 3)
        slow = machine.refuse
        full = iter([True])

        def refuse(name: str, path: Path) -> None:
            if name == "pwrite" and next(full, False):
                raise OSError(28, "No space left on device")
            slow(name, path)

        machine.refuse = refuse
        disk.recover()
        for thread in threads:
            thread.join(10)
        assert disk.failed == []
        assert dict(db.scan()) == {b"first": b"v", b"0": b"v", b"1": b"v", b"2": b"v"}

    def test_a_thread_that_is_alone_is_told_of_a_full_disk(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        db.put(b"before", b"v")

        def refuse(name: str, path: Path) -> None:
            if name == "pwrite" and path.suffix == ".log":
                raise OSError(28, "No space left on device")

        machine.refuse = refuse
        failed: list[BaseException] = []

        def put() -> None:
            try:
                db.put(b"k", b"v" * 100)
            except stratakv.StorageError as error:
                failed.append(error)

        thread = threading.Thread(target=put)
        thread.start()
        thread.join()
        assert "No space left" in str(failed)
        assert db.get(b"k") is None

    def test_a_long_value_is_written_by_its_own_thread(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always", segment_bytes=2**20)
        start = len(machine.steps)
        db.put(b"k", b"v" * 100_000)
        assert synced(machine, start) == ["000001.log"]
        assert db.get(b"k") == b"v" * 100_000

    def test_nobody_waits_in_a_transaction_for_those_that_wait_for_it(
        self, machine: Machine, open_: Open
    ) -> None:
        db = open_(durability="always")
        with db.transaction() as tx:
            other = threading.Thread(target=db.put, args=(b"other", b"v"))
            other.start()
            wait_until(lambda: db._store.group._gathering._leader is not None)
            with pytest.raises(TransactionError):
                db.put(b"mine", b"v")
            db.sync()
            tx.put(b"k", b"v")
        other.join(10)
        assert dict(db.scan()) == {b"k": b"v", b"other": b"v"}

    def test_a_thread_that_writes_in_the_midst_of_its_sync_waits_for_none(
        self, machine: Machine, open_: Open
    ) -> None:
        """As `__del__` does where the garbage collector runs just then. Others wait for this very sync."""
        db, told = open_(durability="always"), []

        def put_again(step: str, subject: Path) -> None:
            if step != "fdatasync":
                return
            machine.refuse = lambda step, subject: None
            with pytest.raises(TransactionError, match="is committed") as error:
                db.put(b"inner", b"v")
            told.append(error)

        def put() -> None:
            db.put(b"first", b"v")
            machine.refuse = put_again
            db.put(b"outer", b"v")

        with in_time():
            thread = threading.Thread(target=put)
            thread.start()
            thread.join()
        assert told
        assert db.get_many([b"inner", b"outer"]) == {b"inner": b"v", b"outer": b"v"}
        db.put(b"next", b"v")

    def test_who_asks_for_a_sync_waits_for_no_writer(self, open_: Open) -> None:
        db = open_(durability="always")
        begun, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with db.transaction():
                begun.set()
                go_on.wait(10)

        threads = [threading.Thread(target=hold), threading.Thread(target=db.put, args=(b"k", b"v"))]
        threads[0].start()
        begun.wait(10)
        threads[1].start()
        wait_until(lambda: db._store.group._gathering._leader is not None)
        db.sync()
        assert threads[1].is_alive()
        go_on.set()
        for thread in threads:
            thread.join(10)

    def test_the_main_thread_writes_for_itself(self, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may be thrown out anywhere, and nobody must depend on it then."""
        db = open_(durability="always")
        monkeypatch.setattr(db._store.group, "_gathering", None)
        db.put(b"k", b"v")
        assert db.stats().unsynced_bytes == 0

    def test_who_waits_for_a_sync_is_not_left_behind_by_a_close(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk = SlowDisk(machine)
        syncs = [threading.Thread(target=db.sync) for _ in range(3)]
        first = disk.put(db, b"first")
        disk.wait_for_sync(1)
        for thread in syncs:
            thread.start()
        wait_until(lambda: len(db._store.syncer._gathering._waiting) == 3)
        db._store.syncer.stop()
        disk.recover()
        for thread in (first, *syncs):
            thread.join(10)
            assert not thread.is_alive()

    @pytest.mark.parametrize("on_disk", [False, True])
    def test_who_may_not_write_cannot_sync(
        self, db: DB, open_: Open, machine: Machine, *, on_disk: bool
    ) -> None:
        db.put(b"k", b"v")
        if on_disk:
            db.sync()
        db.close()
        machine.may_write = False
        with open_(read_only=True) as reader:
            if on_disk:
                reader.sync()
            else:
                with pytest.raises(ReadOnlyError, match="only a process that may write"):
                    reader.sync()

    def test_a_sync_of_another_process_will_do(self, machine: Machine, open_: Open, path: Path) -> None:
        """Even where that process goes on to its next one, and never lets go of the lock."""
        db = open_(durability="always")
        start = len(machine.steps)
        with (path / "sync.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            thread = threading.Thread(target=db.put, args=(b"k", b"v"))
            thread.start()
            wait_until(lambda: db.stats().records_written == 1)
            words = db._store.control.words
            words[W_SYNCED] = words[W_TIP]
            thread.join(10)
            assert not thread.is_alive()
        assert synced(machine, start) == []


class SlowDisk:
    """A disk whose n-th sync ends when `sync_of[n]` is set, and the threads that wait for it."""

    def __init__(self, machine: Machine) -> None:
        self.sync_of = [threading.Event() for _ in range(8)]
        self.begun = 0
        self.failed: list[BaseException] = []
        machine.refuse = self._before

    def _before(self, name: str, path: Path) -> None:
        if name == "fdatasync":
            self.begun += 1
            self.sync_of[self.begun].wait(10)

    def wait_for_sync(self, number: int) -> None:
        wait_until(lambda: self.begun == number)

    def gather(self, db: DB, count: int) -> list[threading.Thread]:
        """Begin to put `first`, and let so many others, `0` and on in this order, wait for its sync."""
        threads = [self.put(db, b"first")]
        self.wait_for_sync(1)
        for number in range(count):
            threads.append(self.put(db, b"%d" % number))
            wait_until(lambda: waiting(db) == len(threads) - 1)
        return threads

    def recover(self) -> None:
        for end in self.sync_of:
            end.set()

    def put(self, db: DB, key: bytes) -> threading.Thread:
        thread = threading.Thread(target=self._put, args=(db, key))
        thread.start()
        return thread

    def _put(self, db: DB, key: bytes) -> None:
        try:
            db.put(key, b"v")
        except BaseException as error:
            self.failed.append(error)


def waiting(db: DB) -> int:
    """How many threads wait for the next sync."""
    return len(db._store.group._gathering._waiting)


def put_in_transaction(db: DB) -> None:
    with db.transaction() as tx:
        tx.put(b"t", b"v")


class TestNewFiles:
    def test_a_new_segment_is_durable_before_it_is_named(self, db: DB, machine: Machine, path: Path) -> None:
        start = len(machine.steps)
        rotate(db)
        rotate(db)
        names = synced(machine, start)
        named = names.index("MANIFEST.tmp")
        assert path.name in names[:named], "the directory, with the names of the new files"
        assert names[named + 1] == path.name, "and again, with the name of the manifest"

    def test_a_new_store_is_durable_with_its_directory(self, machine: Machine, tmp_path: Path) -> None:
        """The name of a directory lies in its parent: without that sync a power cut takes the store along."""
        with stratakv.open(tmp_path / "deep" / "store"):
            pass
        names = synced(machine)
        assert "deep" in names
        assert tmp_path.name in names


class TestFailure:
    """A sync that failed is never tried again: the next one would succeed, and tell a lie."""

    def test_of_the_active_log(self, machine: Machine, open_: Open, path: Path) -> None:
        db = open_(durability="always")
        db.put(b"before", b"v")
        disk_fails(machine)
        with pytest.raises(SyncError, match=r"000001\.log.*Input/output error.*look at the disk") as caught:
            db.put(b"k", b"v")
        assert caught.value.path == str(path / "000001.log")
        assert db.get(b"k") == b"v", "written it is, only not for certain"
        start = len(machine.steps)
        db.put(b"after", b"v")
        assert "000001.log" not in synced(machine, start)
        assert synced(machine, start)[-1] == "000002.log", "writing goes on in a new log"
        assert dict(db.scan()) == {b"before": b"v", b"k": b"v", b"after": b"v"}

    def test_of_a_sealed_log(self, db: DB, machine: Machine) -> None:
        db.put(b"k", b"v")
        rotate(db)
        disk_fails(machine)
        with pytest.raises(SyncError, match=r"000001\.log"):
            db.sync()
        start = len(machine.steps)
        with pytest.raises(SyncError, match=r"000001\.log"):
            db.sync()
        assert "000001.log" not in synced(machine, start)

    def test_of_two_logs(self, db: DB, machine: Machine) -> None:
        db.put(b"k", b"v")
        rotate(db)
        rotate(db)
        disk_fails(machine, times=2)
        for _ in range(4):
            with pytest.raises(SyncError):
                db.sync()
        assert synced(machine).count("000001.log") == synced(machine).count("000002.log") == 1
        db.put(b"after", b"v")
        assert db.get(b"after") == b"v"

    def test_who_waited_is_told(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk = SlowDisk(machine)
        threads = disk.gather(db, 3)
        disk_fails(machine)
        disk.sync_of[1].set()
        for thread in threads:
            thread.join()
        assert [type(error) for error in disk.failed] == [SyncError] * 3
        db.put(b"after", b"v")

    def test_it_is_remembered(self, machine: Machine, open_: Open) -> None:
        """By the manifest: later rotations must not call that log synced, nor a process that comes later."""
        db = open_(durability="always")
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v" * 100)
        for _ in range(3):
            rotate(db)
        entry = db._store.structure.current().manifest.segments[-1]
        assert (entry.number, entry.poisoned) == (1, True)
        assert entry.synced < entry.size
        db.close()
        start = len(machine.steps)
        db = open_(durability="os")
        db.put(b"after", b"v")
        with pytest.raises(SyncError):
            db.sync()
        assert "000001.log" not in synced(machine, start)

    def test_who_found_it_out_died_of_it(self, db: DB, machine: Machine, open_: Open) -> None:
        """What is written to that log could never be called synced: the next one begins another."""
        db.put(b"before", b"v")
        db._store.control.words[W_POISONED] = 1
        machine.bury(db)
        db = open_(durability="always")
        with pytest.raises(SyncError, match=r"000001\.log"):
            db.put(b"k", b"v")
        db.put(b"after", b"v")
        assert dict(db.scan()) == {b"before": b"v", b"k": b"v", b"after": b"v"}

    def test_in_the_last_moment_of_a_close(
        self, machine: Machine, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db = open_(durability="interval", sync_interval=3600)
        commit_while_it_closes(db, monkeypatch)
        disk_fails(machine)
        with pytest.raises(SyncError, match=r"000001\.log"):
            db.close()
        db = open_(durability="always")
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        db.put(b"after", b"v")
        assert dict(db.scan()) == {b"late": b"v", b"k": b"v", b"after": b"v"}

    def test_compaction_heals_it(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        db.compact()
        db.put(b"after", b"v")
        db.sync()
        assert dict(db.scan()) == {b"k": b"v", b"after": b"v"}

    def test_a_backup_has_nothing_of_it(self, machine: Machine, open_: Open, tmp_path: Path) -> None:
        db = open_(durability="always")
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        machine.refuse = lambda name, path: None
        db.backup(tmp_path / "copy")
        with stratakv.open(tmp_path / "copy") as copy:
            copy.sync()
            assert copy.get(b"k") == b"v"

    def test_a_poisoned_log_that_tore_costs_only_itself(
        self, machine: Machine, open_: Open, path: Path
    ) -> None:
        """Its writers were told; what came later was acknowledged."""
        db = open_(durability="always")
        db.put(b"before", b"v")
        end = db.stats().segments[0].log_bytes
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        for number in range(200):
            db.put(b"%d" % number, b"v")
        machine.bury(db)
        machine.reboot()
        with (path / "000001.log").open("r+b") as file:
            file.truncate(end + 5)
        db = open_()
        assert dict(db.scan()) == {b"before": b"v"} | {b"%d" % number: b"v" for number in range(200)}
        assert db.verify().ok

    def test_of_the_manifest(self, db: DB, machine: Machine) -> None:
        db.put(b"k", b"v")
        disk_fails(machine, suffix=".tmp")
        with pytest.raises(stratakv.StorageError):
            rotate(db)
        rotate(db)
        assert db.get(b"k") == b"v"
        assert db.verify().ok

    def test_of_the_directory_behind_a_manifest(self, db: DB, machine: Machine, path: Path) -> None:
        """The manifest is renamed, and maybe no more: the next one to write makes that durable first."""
        left = iter([True])

        def refuse(name: str, subject: Path) -> None:
            behind = name == "sync_directory" and machine.steps[-2] == ("rename", path / "MANIFEST.tmp")
            if behind and next(left, None):
                raise OSError(5, "Input/output error")

        machine.refuse = refuse
        with pytest.raises(stratakv.StorageError):
            rotate(db)
        start = len(machine.steps)
        db.put(b"k", b"v")
        assert path.name in synced(machine, start)

    def test_maintenance_does_not_try_again(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        start = len(machine.steps)
        assert db.maintain().finished == 1
        assert "000001.log" not in synced(machine, start)
        with pytest.raises(SyncError):
            db.sync()

    def test_the_interval_goes_on(self, machine: Machine, open_: Open, caplog: Any) -> None:
        db = open_(durability="interval", sync_interval=0.01)
        disk_fails(machine)
        db.put(b"k", b"v")
        wait_until(lambda: "periodic sync failed" in caplog.text)
        db.put(b"l", b"v")
        wait_until(lambda: db.stats().unsynced_bytes == 0)

    def test_an_interval_that_goes_on_failing_is_told_once(
        self, open_: Open, caplog: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries: list[bool] = []

        def refuse(syncer: Syncer) -> None:
            tries.append(True)
            raise storage_error(Path("log"), OSError(errno.ENOSPC, "No space left on device"))

        db = open_(durability="interval", sync_interval=0.01)
        for turn in (1, 2):
            with monkeypatch.context() as patch:
                patch.setattr(Syncer, "reach_tip", refuse)
                db.put(b"k", b"v")
                tries.clear()
                wait_until(lambda: len(tries) > 5)
            assert caplog.text.count("periodic sync failed") == turn
            wait_until(lambda: db.stats().unsynced_bytes == 0)
