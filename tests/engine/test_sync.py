"""Durability: what is synced when, and what a failed sync means."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, SyncError
from stratakv.control import W_SYNCED, W_TIP
from stratakv.leadership import Leadership
from tests.engine.machine import Machine

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
        wait_for(lambda: db.stats().unsynced_bytes == 0)
        assert synced(machine, start) == ["000001.log"]
        time.sleep(0.05)
        assert synced(machine, start) == ["000001.log"], "nothing new, nothing to sync"

    def test_interval_syncs_when_it_closes(self, machine: Machine, open_: Open) -> None:
        others = set(threading.enumerate())
        db = open_(durability="interval", sync_interval=3600)
        db.put(b"k", b"v")
        start = len(machine.steps)
        db.close()
        assert synced(machine, start) == ["000001.log"]
        assert set(threading.enumerate()) <= others

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

    def test_waiting_together_costs_one_sync(self, machine: Machine, open_: Open) -> None:
        """While one sync is under way others commit; a single one follows for all of them."""
        db = open_(durability="always")
        begun, go_on = threading.Event(), threading.Event()

        def refuse(name: str, path: Path) -> None:
            if name == "fdatasync":
                begun.set()
                go_on.wait(10)

        machine.refuse = refuse
        threads = [threading.Thread(target=db.put, args=(b"%d" % number, b"v")) for number in range(8)]
        threads[0].start()
        begun.wait(10)
        start = len(machine.steps)
        for thread in threads[1:]:
            thread.start()
        wait_for(lambda: db.stats().records_written == 8)
        go_on.set()
        for thread in threads:
            thread.join()
        assert synced(machine, start) == ["000001.log"]

    def test_who_is_covered_waits_for_no_further_sync(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        syncs = [threading.Event() for _ in range(4)]  # let the sync of this number end
        begun: list[str] = []

        def refuse(name: str, path: Path) -> None:
            if name == "fdatasync":
                begun.append(name)
                syncs[len(begun) - 1].wait(10)

        def put(name: bytes) -> threading.Thread:
            thread = threading.Thread(target=db.put, args=(name, b"v"))
            thread.start()
            return thread

        machine.refuse = refuse
        first = put(b"first")
        wait_for(lambda: len(begun) == 1)
        together = [put(b"%d" % number) for number in range(6)]
        wait_for(lambda: db.stats().records_written == 7)
        syncs[0].set()
        wait_for(lambda: len(begun) == 2)
        last = put(b"last")
        wait_for(lambda: db.stats().records_written == 8)
        syncs[1].set()
        wait_for(lambda: len(begun) == 3)
        for thread in (first, *together):
            thread.join(10)
            assert not thread.is_alive(), "the third sync is under way, and it is on disk already"
        assert last.is_alive()
        syncs[2].set()
        last.join()

    def test_a_sync_of_another_process_will_do(self, machine: Machine, open_: Open, path: Path) -> None:
        """Even where that process goes on to its next one, and never lets go of the lock."""
        db = open_(durability="always")
        start = len(machine.steps)
        with (path / "sync.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            thread = threading.Thread(target=db.put, args=(b"k", b"v"))
            thread.start()
            wait_for(lambda: db.stats().records_written == 1)
            words = db._store.control.words
            words[W_SYNCED] = words[W_TIP]
            thread.join(10)
            assert not thread.is_alive()
        assert synced(machine, start) == []


class TestLeadership:
    """One leads, the others follow, and nobody is left behind."""

    def test_a_follower_that_is_interrupted_leaves_the_others_going(self) -> None:
        leadership = Leadership()
        assert leadership.take(1)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            leadership.take(2)
        leadership.pass_on(1)
        assert leadership.take(2), "nobody leads, and nobody is waited for"

    def test_an_heir_that_is_interrupted_leaves_the_others_going(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leadership = Leadership()

        class Gate:
            """Is acquired once when it is made, and then meets the end of the lead and Ctrl-C at once."""

            def __init__(self) -> None:
                self.acquire: Callable[[], None] = self._made

            def _made(self) -> None:
                self.acquire = self._interrupted

            def _interrupted(self) -> None:
                leadership.pass_on(1)
                raise KeyboardInterrupt

            def release(self) -> None: ...

        assert leadership.take(1)
        monkeypatch.setattr(threading, "Lock", Gate)
        with pytest.raises(KeyboardInterrupt):
            leadership.take(2)
        assert leadership.take(2)


def put_in_transaction(db: DB) -> None:
    with db.transaction() as tx:
        tx.put(b"t", b"v")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


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
        begun, go_on = threading.Event(), threading.Event()
        outcomes: list[str] = []

        def refuse(name: str, path: Path) -> None:
            if name == "fdatasync" and path.name == "000001.log" and not go_on.is_set():
                begun.set()
                go_on.wait(10)
                raise OSError(5, "Input/output error")

        def put(key: bytes) -> None:
            try:
                db.put(key, b"v")
                outcomes.append("stored")
            except SyncError:
                outcomes.append("told")

        machine.refuse = refuse
        threads = [threading.Thread(target=put, args=(b"%d" % number,)) for number in range(4)]
        threads[0].start()
        begun.wait(10)
        for thread in threads[1:]:
            thread.start()
        wait_for(lambda: db.stats().records_written == 4)
        go_on.set()
        for thread in threads:
            thread.join()
        assert outcomes == ["told"] * 4
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

    def test_compaction_heals_it(self, machine: Machine, open_: Open) -> None:
        db = open_(durability="always")
        disk_fails(machine)
        with pytest.raises(SyncError):
            db.put(b"k", b"v")
        db.compact()
        db.put(b"after", b"v")
        db.sync()
        assert dict(db.scan()) == {b"k": b"v", b"after": b"v"}

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
        wait_for(lambda: "periodic sync failed" in caplog.text)
        db.put(b"l", b"v")
        wait_for(lambda: db.stats().unsynced_bytes == 0)
