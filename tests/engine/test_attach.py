"""Opening a store of which something is missing, changes at that very moment, or is refused by the kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stratakv import (
    DB,
    CorruptionError,
    DirectoryError,
    ReadOnlyError,
    StorageError,
    StoreBusyError,
    attach,
    index,
)
from stratakv import open_stores as stores
from stratakv.control import ROWS, W_BUSY, W_INDEXED, W_STATE, W_TIP, Figure, State, open_control
from stratakv.files import Files
from stratakv.locks import UNLOCK, FileLock
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.segment_files import open_log
from tests.engine.conftest import Open
from tests.engine.layout import Layout
from tests.engine.machine import Machine, MachineFiles, rotate

Model = dict[bytes, bytes]


def refuses(machine: Machine, step: str, name: str, number: int = errno.EIO) -> None:
    """Have the kernel refuse a step on the file of that name."""

    def refuse(what: str, subject: Path) -> None:
        if (what, subject.name) == (step, name):
            raise OSError(number, os.strerror(number))

    machine.refuse = refuse


class TestByWhoMayNotWrite:
    @pytest.fixture
    def read_only(self, machine: Machine, open_: Open) -> Callable[[], DB]:
        def read_only() -> DB:
            machine.may_write = False
            return open_(read_only=True)

        return read_only

    @pytest.mark.parametrize("change", ["deleted", "flipped"])
    def test_an_index_is_made_anew_in_memory(
        self, layout: Layout, read_only: Callable[[], DB], change: str
    ) -> None:
        index = layout.log("main").with_suffix(".idx")
        data = bytearray(index.read_bytes())
        data[300] ^= 1
        index.unlink()
        if change == "flipped":
            index.write_bytes(data)
        files = set(layout.path.iterdir())
        with read_only() as db:
            assert dict(db.scan()) == layout.model
            structure = db._store.structure
            structure.view = structure._load(structure.view)  # as after a change by somebody else
            assert dict(db.scan()) == layout.model
        assert set(layout.path.iterdir()) == files
        assert not index.exists() or index.read_bytes() == data

    def test_a_writer_that_comes_later(
        self, layout: Layout, read_only: Callable[[], DB], machine: Machine, open_: Open
    ) -> None:
        """As through a volume that is mounted read-only, by who was there first after all had closed."""
        with read_only() as reader:
            machine.may_write = True
            left = layout.path / "000099.log"
            left.write_bytes(bytes(100))
            with open_() as db:
                assert not left.exists()
                db.put(b"later", b"v")
                rotate(db)
                assert dict(reader.scan()) == dict(db.scan()) == {**layout.model, b"later": b"v"}
        with open_() as db:
            assert dict(db.scan()) == {**layout.model, b"later": b"v"}
            assert db.verify().ok

    @pytest.mark.parametrize("size", [None, 10])
    def test_without_control_nobody_knows_whether_it_survived(
        self, layout: Layout, read_only: Callable[[], DB], size: int | None
    ) -> None:
        if size is None:
            (layout.path / "CONTROL").unlink()
        else:
            os.truncate(layout.path / "CONTROL", size)
        with pytest.raises(ReadOnlyError, match="must be recovered"):
            read_only()

    def test_a_writer_that_died_in_its_commit(
        self, layout: Layout, machine: Machine, open_: Open, read_only: Callable[[], DB]
    ) -> None:
        """It cannot be healed here: many keys are then read one by one, each as it is."""
        db = open_(segment_bytes=8192)
        words = db._store.control.words
        words[W_BUSY], words[W_INDEXED] = 1, words[W_TIP] - 1
        machine.bury(db)
        with read_only() as db:
            assert db.get_many([*layout.model, b"absent"]) == layout.model


def test_a_store_whose_control_is_gone_while_others_have_it_open(
    layout: Layout, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "_TRIES", 3)
    db = open_(segment_bytes=8192)
    directory = db._store.directory
    db.close()
    (layout.path / "CONTROL").unlink()
    others = FileLock(directory, "attach.lock", write=True)
    others.shared()
    try:
        with pytest.raises(CorruptionError, match="missing or damaged while others"):
            open_()
    finally:
        others.free()
    with open_() as db:
        assert dict(db.scan()) == layout.model


def test_a_store_that_is_closed_while_another_process_stands_still(
    layout: Layout, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped while it looked whether the store is open, or while it recovered it."""
    monkeypatch.setattr(attach, "_TRIES", 3)
    with open_(segment_bytes=8192) as db:
        directory = db._store.directory
    others = FileLock(directory, "attach.lock", write=True)
    others.shared()
    try:
        with open_() as db:
            assert dict(db.scan()) == layout.model
        open_control(directory, write=True).words[W_STATE] = State.NEW
        with pytest.raises(StoreBusyError, match="a process that does not go on"):
            open_()
    finally:
        others.free()
    with open_() as db:
        assert dict(db.scan()) == layout.model


def test_a_store_that_is_open_in_a_container_with_a_boot_id_of_its_own(
    layout: Layout, machine: Machine, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is alone takes it for a reboot. Beside others, the page in use must not be made anew."""
    monkeypatch.setattr(attach, "_TRIES", 3)
    ours = machine.boot
    with open_(segment_bytes=8192) as db:
        store = db._store
        machine.boot = ours + 1
        stores._stores.pop(store.identity)  # as another process
        try:
            with pytest.raises(StoreBusyError, match="a boot id of its own"):
                open_()
        finally:
            stores._stores[store.identity] = store
            machine.boot = ours
        assert dict(db.scan()) == layout.model
        db.put(b"key", b"value")
    machine.boot = ours + 1
    with open_() as db:
        assert dict(db.scan()) == {**layout.model, b"key": b"value"}


def test_an_index_that_is_too_small_for_its_log(db: DB, open_: Open, path: Path, machine: Machine) -> None:
    """Somebody has put another one there: the store is recovered, as after a reboot."""
    model = {b"%d" % number: b"v" for number in range(30)}
    db.put_many(model)
    machine.bury(db)
    shape = index.Shape.young(1)
    buffer = bytearray(shape.size)
    index.write_header(index.arrays(buffer, shape), 1)
    (path / "000001.idx").write_bytes(buffer)
    with open_() as db:
        assert dict(db.scan()) == model
        assert db.verify().ok


def test_a_log_that_goes_while_a_reboot_is_recovered_from(
    layout: Layout, open_: Open, machine: Machine
) -> None:
    """What the manifest names after that must all be there."""
    machine.reboot()
    lost = layout.log("first")

    def remove(step: str, subject: Path) -> None:
        if (step, subject.name) == ("rename", "MANIFEST.tmp"):
            lost.unlink(missing_ok=True)

    machine.refuse = remove
    with pytest.raises(CorruptionError, match="the manifest names the file, and it is missing"):
        open_()


def test_another_process_makes_the_directory_first(machine: Machine, path: Path, open_: Open) -> None:
    def faster(step: str, subject: Path) -> None:
        if step == "make_directory" and not subject.exists():
            subject.mkdir(mode=0o700)
            raise FileExistsError(errno.EEXIST, "File exists")

    machine.refuse = faster
    with open_() as db:
        db.put(b"k", b"v")
        assert db.get(b"k") == b"v"


def test_another_process_makes_the_store_first(
    machine: Machine, path: Path, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the directory, which was empty, and the look at what is in it."""
    with open_() as db:
        db.put(b"k", b"v")
    looks = iter([False])
    real = stores.Directory.is_store
    monkeypatch.setattr(stores.Directory, "is_store", lambda self: next(looks, None) is None and real(self))
    with open_() as db:
        assert db.get(b"k") == b"v"


@pytest.mark.parametrize("call", ["names", "allocated_in"])
def test_a_directory_that_cannot_be_read(
    layout: Layout, open_: Open, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(self: Files, path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    with open_(max_bytes=2**20) as db:
        monkeypatch.setattr(MachineFiles, call, refuse)
        directory = db._store.directory
        with pytest.raises(DirectoryError, match="cannot be read: Permission denied"):
            directory.numbers("log") if call == "names" else directory.used()
        monkeypatch.undo()


def test_a_range_tombstone_that_the_header_promises(layout: Layout, open_: Open) -> None:
    """Without it, what it hides would show: the segment is not opened."""
    log = layout.log("main")
    data = bytearray(log.read_bytes())
    header = LogHeader.unpack(bytes(data[:HEADER_BYTES]))
    assert header
    data[:HEADER_BYTES] = replace(header, ranges=1).pack()
    log.write_bytes(data)
    with pytest.raises(CorruptionError, match="a range tombstone is damaged"):
        open_()


def test_a_log_that_is_sealed_while_it_is_opened(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut after its size was asked for: there is a manifest by now that says so."""
    directory = db._store.directory
    real = Files.size
    monkeypatch.setattr(MachineFiles, "size", lambda self, fd: real(self, fd) + 2**20)
    with pytest.raises(FileNotFoundError, match="no longer being written"):
        open_log(directory, 1, write=False)


class TestCounters:
    @pytest.mark.parametrize("gone", [2**22 + 1, 2**31, 2**64 - 1])  # no process has such a number
    def test_a_row_of_a_process_that_has_gone_is_taken(self, db: DB, gone: int) -> None:
        control = db._store.control
        for number in range(1, ROWS + 1):
            control._row(number)[0] = os.getpid() if number != 77 else gone
        control._row(77)[Figure.HITS] = 5
        control.claim_row()
        assert control._row(77)[0] == os.getpid()
        control.row[Figure.HITS] = 1
        assert control.total(Figure.HITS) == 6, "what it has counted stays"

    def test_the_last_row_is_shared(self, db: DB) -> None:
        control = db._store.control
        for number in range(1, ROWS + 1):
            control._row(number)[0] = os.getppid()
        control.claim_row()
        assert control._row(ROWS)[0] == os.getpid()


class TestLocks:
    def test_one_that_the_kernel_has_no_room_for(self, db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
        lock = FileLock(db._store.directory, "sync.lock", write=True)

        def refuse(fd: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        with monkeypatch.context() as patch:
            patch.setattr(lock._files, "flock", refuse, raising=False)
            with pytest.raises(StorageError, match="No locks available"):
                lock.exclusive()
        lock.free()
        lock.free()  # does nothing

    def test_a_writer_lock_that_cannot_be_released(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is said, and the threads of this process go on."""
        real = Files.flock
        ill = False

        def refuse(fd: int, operation: int) -> None:
            if ill and operation == UNLOCK:
                raise OSError(errno.EIO, "Input/output error")
            real(fd, operation)

        monkeypatch.setattr(Files, "flock", staticmethod(refuse))
        db = open_()
        ill = True
        with pytest.raises(StorageError, match="Input/output error"):
            db.put(b"k", b"v")
        ill = False
        db.put(b"k", b"newer")
        assert db.get(b"k") == b"newer"


def test_a_store_that_cannot_be_closed_at_the_end_of_the_process(
    db: DB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the others are closed."""

    def fail() -> None:
        raise CorruptionError(db.path, 0, "whatever it is")

    before = dict(stores._stores)
    monkeypatch.setattr(stores, "_stores", {db._store.identity: db._store})
    with monkeypatch.context() as patch:
        patch.setattr(db._store, "close", fail)
        stores._close_all()
    assert f"{db.path} could not be closed cleanly" in caplog.text
    monkeypatch.setattr(stores, "_stores", before)
