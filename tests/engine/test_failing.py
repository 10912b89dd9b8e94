"""A write that fails, or that somebody thinks better of, before anything is done: nobody has to heal."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from stratakv import DB, DiskFullError, InvalidValueError, StorageError
from stratakv.commit import Committer
from stratakv.control import W_BUSY
from stratakv.record import COMMIT, PUT
from stratakv.writer_lock import WriterLock
from tests.engine.machine import Machine

Open = Callable[..., DB]

BEFORE = {b"a": b"1", b"b": b"2"}
LARGE = bytes([1]) * 60_000  # two are longer than what is written ahead
BLOCK = 4096


@pytest.fixture
def db(open_: Open) -> DB:
    db = open_(durability="always", segment_bytes=2**19)  # no stores through the map
    db.put_many(BEFORE)
    return db


def check(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is as it was, nobody has to heal, and it goes on."""
    assert not db._store.control.words[W_BUSY]
    monkeypatch.setattr(WriterLock, "_heal", None)
    assert dict(db.scan()) == BEFORE
    assert db.incr(b"a") == 2
    db.put_many({b"c": b"", b"d": b""})
    assert dict(db.scan()) == BEFORE | {b"a": b"2", b"c": b"", b"d": b""}
    assert db.verify().ok


def group(db: DB) -> None:
    """Puts of several threads, written by one of them."""
    writer, committer = db._store.writer, db._store.committer
    writes = [writer._write(key, LARGE, 0, PUT | COMMIT) for key in (b"c", b"d")]
    with committer.hold() as held:
        committer.commit(held, writes)


@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.put(b"c", LARGE * 2),
        lambda db: db.add(b"c", LARGE * 2),
        lambda db: db.put_many({b"c": LARGE, b"d": LARGE}),
        group,
    ],
    ids=["put", "add", "batch", "group"],
)
@pytest.mark.parametrize("left", [0, 1, 10])
@pytest.mark.parametrize("reboot", [False, True], ids=["", "reboot"])
def test_a_full_disk(
    db: DB,
    machine: Machine,
    open_: Open,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[DB], object],
    *,
    left: int,
    reboot: bool,
) -> None:
    """Even where the disk takes all of one put of several: nobody was told that it is stored."""
    files, active = db._store.directory.files, db._store.structure.view.active
    full, real = files.data_end(active.fd) + left * BLOCK, files.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if fd == active.fd and offset >= full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[: full - offset] if fd == active.fd else data, offset)

    with monkeypatch.context() as here:
        here.setattr(files, "pwrite", pwrite)
        here.setattr(db._store.committer, "_pwrite", pwrite)
        for _ in range(2):
            with pytest.raises(DiskFullError):
                write(db)
    if reboot:
        machine.bury(db)
        machine.reboot()
        db = open_(durability="always", segment_bytes=2**19)
    check(db, monkeypatch)


@pytest.mark.parametrize("step", ["allocate", "rename"])
@pytest.mark.parametrize(
    "change", [lambda db: db.clear(), lambda db: db.delete_prefix(b"a")], ids=["clear", "delete_prefix"]
)
def test_a_segment_that_cannot_be_begun(
    db: DB, machine: Machine, monkeypatch: pytest.MonkeyPatch, change: Callable[[DB], object], step: str
) -> None:
    def refuse(name: str, path: object) -> None:
        if name == step:
            raise OSError(errno.ENOSPC, "No space left on device")

    machine.refuse = refuse
    with pytest.raises(DiskFullError):
        change(db)
    machine.refuse = lambda name, path: None
    check(db, monkeypatch)


def test_a_transaction_that_is_thought_better_of(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), db.transaction() as tx:  # noqa: PT012 - the block is the point
        tx.put(b"a", b"none")
        raise RuntimeError
    check(db, monkeypatch)


def test_more_than_a_quarter_of_the_budget(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_(segment_bytes=2**19, max_bytes=2**20)
    db.put_many(BEFORE)
    with pytest.raises(InvalidValueError, match="a quarter of max_bytes"):
        db.put(b"c", bytes(2**19))
    check(db, monkeypatch)


def test_what_cannot_be_taken_back_is_healed(db: DB, machine: Machine) -> None:
    def refuse(name: str, path: object) -> None:
        if name in ("pwrite", "clear"):
            raise OSError(errno.EIO, "Input/output error")

    machine.refuse = refuse
    with pytest.raises(StorageError):
        db.put(b"c", b"3")
    assert db._store.control.words[W_BUSY]
    machine.refuse = lambda name, path: None
    assert db.incr(b"a") == 2
    assert not db._store.control.words[W_BUSY]


def test_a_change_that_is_given_up_under_the_lock(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(value: bytes) -> bytes:
        raise KeyError(value)

    monkeypatch.setattr(Committer, "moment", lambda self: None)  # somebody else is at it
    with pytest.raises(KeyError):
        db.update(b"a", change)
    check(db, monkeypatch)
