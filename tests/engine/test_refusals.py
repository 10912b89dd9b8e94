"""Kernels that refuse what they hardly ever refuse: nothing is lost, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

import stratakv
from stratakv import DB
from stratakv.directory import Directory
from stratakv.files import Files
from stratakv.maintenance.keeper import Keeper
from stratakv.maintenance.work import Maintenance
from tests.engine.machine import open_in
from tests.support.children import run
from tests.support.waiting import wait_until

OPTIONS: dict[str, Any] = {"segment_bytes": 65536, "maintenance": "manual", "durability": "os"}


def refusing(
    real: Callable[..., Any], number: int, times: float = 1, after: int = 0, refused: list[int] | None = None
) -> Callable[..., Any]:
    """Return `real`, but for some of its calls, which fail with an error number. refused: takes note."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if after < calls <= after + times:
            if refused is not None:
                refused.append(calls)
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    return call


def fill(db: DB, keys: int = 60) -> None:
    for number in range(keys):
        db.put(b"%d" % number, bytes(3000))


def filled(path: Path, keys: int = 60) -> Path:
    with stratakv.open(path, **OPTIONS) as db:
        fill(db, keys)
    return path


def reboot(path: Path) -> None:
    control = bytearray((path / "CONTROL").read_bytes())
    control[16:32] = os.urandom(16)
    (path / "CONTROL").write_bytes(control)


def fail(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something on a disk that can sync nothing: neither the log nor the manifest that would say so."""
    with monkeypatch.context() as patch:
        patch.setattr(Files, "fdatasync", staticmethod(refusing(os.fdatasync, errno.EIO, 99)))
        with pytest.raises(stratakv.StorageError):
            act()


def descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM])
def test_a_recovery_that_cannot_ask_for_holes_cuts_nothing(
    number: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reboot(filled(path, 10))
    monkeypatch.setattr(os, "lseek", refusing(os.lseek, number))
    with pytest.raises(stratakv.StorageError):
        stratakv.open(path, **OPTIONS)
    with stratakv.open(path, **OPTIONS) as db:
        assert len(list(db.keys())) == 10


def test_a_recovery_where_nobody_knows_of_holes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reboot(filled(path, 10))
    monkeypatch.setattr(os, "lseek", refusing(os.lseek, errno.EINVAL, times=float("inf")))
    with stratakv.open(path, **OPTIONS) as db:
        assert len(list(db.keys())) == 10


def test_a_sync_that_failed_is_remembered_though_nothing_could_be_written_down(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stratakv.open(path, **OPTIONS) as db:
        db.put(b"a", b"1")
        fail(db.sync, monkeypatch)
        fill(db)  # which begins segments
        with pytest.raises(stratakv.SyncError):
            db.sync()


def test_a_log_whose_sync_failed_is_sealed_as_such(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stratakv.open(path, **OPTIONS) as db:
        db.put(b"a", b"1")
        fail(db.sync, monkeypatch)
        fill(db)
        oldest = db._store.structure.current().manifest.segments[-1]
        assert oldest.poisoned


def test_a_sync_that_failed_in_maintenance_is_not_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 30)
    with stratakv.open(path, **OPTIONS) as db:
        fail(db.maintain, monkeypatch)
        db.maintain()
        with pytest.raises(stratakv.SyncError):
            db.sync()


def test_maintenance_does_not_forget_the_failed_sync_of_a_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 30)
    with stratakv.open(path, **{**OPTIONS, "durability": "always"}) as db:
        db.sync()
        active = db._store.structure.current().active.number
        fail(lambda: db.put(b"a", b"1"), monkeypatch)
        fail(db.maintain, monkeypatch)
        with pytest.raises(stratakv.SyncError):
            db.put(b"a", b"2")
        assert active in {e.number for e in db._store.structure.current().manifest.segments if e.poisoned}


def test_a_merge_where_no_thread_can_be_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with stratakv.open(path, maintenance="manual", durability="os", segment_bytes=8 * 2**20) as db:
        for number in range(300):
            db.put(b"%d" % number, bytes(100_000))
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert db.compact().records == 300


@pytest.mark.parametrize("call", ["open", "scandir"])
def test_a_rescue_sets_nothing_aside_for_want_of_descriptors(
    call: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filled(path) / "MANIFEST").unlink()
    for place in range(200):
        copy = shutil.copytree(path, tmp_path / "copy")
        refused: list[int] = []
        with monkeypatch.context() as patch, suppress(stratakv.DirectoryError, stratakv.StorageError):
            patch.setattr(os, call, refusing(getattr(os, call), errno.EMFILE, after=place, refused=refused))
            assert stratakv.rescue(copy).action == "recovered"
        shutil.rmtree(copy)
        if not refused:
            return
    pytest.fail("it never ended")


def test_whether_it_may_write_is_asked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, 1)
    answers = [False]

    def access(*arguments: Any, **named: Any) -> bool:
        return answers.pop() if answers else True

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(stratakv.ReadOnlyError):
        stratakv.open(path, **OPTIONS)
    with stratakv.open(path, **OPTIONS) as db:
        db.put(b"a", b"1")


def test_a_store_that_does_not_open_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        gc.collect()  # else it may come between, and close what other tests have left
        before = descriptors()
        monkeypatch.setattr(os, "statvfs", refusing(os.statvfs, errno.EIO))
        with pytest.raises(stratakv.StorageError):
            stratakv.open(path, durability="interval")
        assert "stratakv-sync" not in [thread.name for thread in threading.enumerate()]
        assert len(descriptors()) <= len(before)
        assert open_in(path) == []

    assert run(refused) == [0]  # in a child, which has no threads that other tests have left


def test_a_file_system_that_cannot_allocate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ext3: glibc writes zeros there, other C libraries give the kernel's answer."""
    refuse = refusing(os.posix_fallocate, errno.EOPNOTSUPP, times=float("inf"))
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with stratakv.open(path, **OPTIONS) as db:
        fill(db)
        for index in path.glob("*.idx"):
            assert Files().allocated(index) >= index.stat().st_size, "a store into a hole may be a SIGBUS"
        db.compact()
        assert db.verify().ok
        assert len(list(db.keys())) == 60


@pytest.mark.parametrize("call", ["fchmod", "fstat"])
def test_a_file_that_cannot_be_made_is_not_left_open(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    monkeypatch.setattr(os, call, refusing(getattr(os, call), errno.EPERM))
    with pytest.raises(PermissionError):
        Files().open(tmp_path / "file", write=True, create=True)
    assert descriptors() == before


def test_a_directory_in_the_place_of_a_file_is_not_left_open(tmp_path: Path) -> None:
    before = descriptors()
    for write in (False, True):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory") as caught:
            Files().open(tmp_path, write=write)
        assert caught.value.filename == str(tmp_path)
    assert descriptors() == before


def test_a_keeper_that_cannot_look_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def seconds_left(self) -> float:
            raise OSError(errno.EMFILE, "Too many open files")

        def in_place(self) -> bool:
            return True

    keeper = Keeper(cast(Maintenance, Refusing()), Directory(tmp_path, Files()), {})
    keeper._thread = threading.Thread(target=keeper._watch)
    keeper._thread.start()
    try:
        wait_until(lambda: "maintenance failed" in caplog.text)
        time.sleep(0.3)
    finally:
        keeper.stop()
    assert caplog.text.count("maintenance failed") == 1
