"""Zeros that are written to the log ahead of its records: never over a record, never in a record's way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB
from stratakv.commit import AHEAD_BYTES
from stratakv.control import W_AHEAD, W_TIP
from stratakv.files import Files
from stratakv.log import HEADER_BYTES, OFFSET_MASK
from tests.engine.machine import Death, Machine
from tests.engine.test_commit import check

Open = Callable[..., DB]
Pwrite = Callable[[int, Any, int], int]

SEGMENT_BYTES = 4 * AHEAD_BYTES + 1000


@pytest.fixture
def db(open_: Open) -> DB:
    return open_(segment_bytes=SEGMENT_BYTES)


def fill(db: DB, first: int, stop: int) -> dict[bytes, bytes]:
    """Put records of about 1 KiB, the values of which have no zeros."""
    model = {b"%d" % number: b"%04d " % number * 200 for number in range(first, stop)}
    for key, value in model.items():
        db.put(key, value)
    return model


def reached(path: Path) -> int:
    """Return how far the log of segment 1 has been written to, its zeros included."""
    with (path / "000001.log").open("rb") as log:
        return os.lseek(log.fileno(), 0, os.SEEK_HOLE)


@contextmanager
def writing(db: DB, pwrite: Callable[[Pwrite, int, Any, int], int]) -> Iterator[None]:
    """Have the log written by `pwrite`, which is given the real one."""
    committer = db._store.committer
    real = committer._pwrite
    committer._pwrite = lambda fd, data, offset: pwrite(real, fd, data, offset)  # type: ignore[method-assign]
    try:
        yield
    finally:
        committer._pwrite = real  # type: ignore[method-assign]


def is_zeros(data: Any) -> bool:
    return not any(data)


def test_one_write_of_zeros_serves_many_records(db: DB, path: Path, machine: Machine) -> None:
    before = len(machine.steps)
    model = fill(db, 0, 40)
    assert machine.names()[before:] == ["allocate", "pwrite"], "for the zeros; records are stored"
    assert reached(path) == AHEAD_BYTES
    assert (path / "000001.log").stat().st_size == SEGMENT_BYTES
    check(db, model)


def test_blocks_are_reserved_once_for_many_zeros_and_anew_in_the_next_segment(
    db: DB, machine: Machine
) -> None:
    model = fill(db, 0, 1)
    before = len(machine.steps)
    model |= fill(db, 1, 150)
    assert machine.names()[before:] == ["pwrite"] * 2
    db.delete_prefix(b"none")  # which begins a segment
    before = len(machine.steps)
    model |= fill(db, 150, 160)
    assert machine.names()[before:] == ["allocate", "pwrite"]
    check(db, model)


def test_blocks_that_were_refused_are_asked_for_again(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the zeros alone would be taken for blocks that are enough for a store."""
    files = db._store.directory.files
    real, asked = files.allocate, []

    def allocate(fd: int, end: int, start: int = 0) -> None:
        asked.append(start)
        if len(asked) == 1:
            raise OSError(28, "No space left on device")
        real(fd, end, start)

    monkeypatch.setattr(files, "allocate", allocate)
    model = fill(db, 0, 3)
    assert len(asked) == 2
    check(db, model)


@pytest.mark.parametrize("file_system", ["btrfs", "xfs", "tmpfs", "overlay", ""])
def test_a_store_could_find_the_disk_full(open_: Open, machine: Machine, file_system: str) -> None:
    """Where a page needs another block each time it is written, a full disk would be a signal."""
    machine.type = file_system
    db = open_(segment_bytes=SEGMENT_BYTES)
    before = len(machine.steps)
    model = fill(db, 0, 40)
    assert [name for name, _ in machine.steps[before:]] == ["pwrite"] * 41
    check(db, model)


def test_a_store_could_be_seen_too_late(
    open_: Open, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a processor that sees the slot first, it would be a damaged record."""
    monkeypatch.setattr(Files, "ORDERED", False)
    db = open_(segment_bytes=SEGMENT_BYTES)
    before = len(machine.steps)
    fill(db, 0, 40)
    assert machine.names()[before:] == ["pwrite"] * 41


@pytest.mark.parametrize("then", ["closed", "killed", "killed, and opened by who may only read"])
def test_zeros_of_another_time_are_not_relied_on(
    db: DB, open_: Open, machine: Machine, path: Path, then: str
) -> None:
    """While nobody has the log open, a copy or a tool may have made holes of them."""
    model = fill(db, 0, 10)
    tip = db._store.control.words[W_TIP] & OFFSET_MASK
    if then == "closed":
        db.close()
    else:
        machine.bury(db)
    del db
    for size in (tip, SEGMENT_BYTES):
        os.truncate(path / "000001.log", size)
    assert reached(path) < AHEAD_BYTES
    if "read" in then:
        machine.may_write = False
        reader = open_(read_only=True)
        assert reader.get(b"1") == model[b"1"]
        machine.may_write = True
    db = open_(segment_bytes=SEGMENT_BYTES)
    before = len(machine.steps)
    model |= fill(db, 10, 20)
    assert machine.names()[before:] == ["allocate", "pwrite"]
    assert reached(path) == AHEAD_BYTES
    check(db, model)


def test_a_long_record_is_written_once(db: DB, machine: Machine) -> None:
    before = len(machine.steps)
    db.put(b"k", b"v" * AHEAD_BYTES)
    assert [name for name, _ in machine.steps[before:]] == ["pwrite"]


@pytest.mark.parametrize("length", [1, AHEAD_BYTES - 100, AHEAD_BYTES, AHEAD_BYTES + 1, 2 * AHEAD_BYTES])
def test_records_of_any_length(db: DB, length: int) -> None:
    model = fill(db, 0, 3) | {b"k": b"v" * length}
    db.put(b"k", model[b"k"])
    check(db, model | fill(db, 3, 9))


def test_a_segment_is_filled_to_its_end(db: DB, path: Path) -> None:
    """Neither does the log become longer than it was made, nor do zeros stay in one that is sealed."""
    model = {}
    for number in range(400):
        model |= fill(db, number, number + 1)
        assert max(path.glob("*.log")).stat().st_size == SEGMENT_BYTES
    _, *sealed = db.stats().segments
    assert len(sealed) >= 1
    for segment in sealed:
        assert (path / f"{segment.number:06d}.log").stat().st_size == segment.log_bytes
        assert segment.log_bytes > SEGMENT_BYTES - 2000
    check(db, model)


@pytest.mark.parametrize("known", ["nothing", "less than the tip"])
def test_what_is_committed_is_not_overwritten(db: DB, known: str) -> None:
    """How far zeros reach may have been lost, or passed by a batch, which does not ask."""
    model = fill(db, 0, 10)
    if known == "nothing":
        db._store.control.words[W_AHEAD] = 0
    else:
        batch = {b"batch %d" % number: b"v" * 1000 for number in range(100)}
        db.put_many(batch)
        model |= batch
        words = db._store.control.words
        assert words[W_AHEAD] < words[W_TIP]
    check(db, model | fill(db, 10, 100))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("share", [0, 1, 5000, AHEAD_BYTES])
def test_death_while_zeros_are_written(
    db: DB, machine: Machine, open_: Open, share: int, restart: bool
) -> None:
    model = fill(db, 0, 60)

    def pwrite(real: Pwrite, fd: int, data: Any, offset: int) -> int:
        if is_zeros(data):
            real(fd, data[:share], offset)
            raise Death
        return real(fd, data, offset)

    with writing(db, pwrite), pytest.raises(Death):  # noqa: PT012 - in one of them
        for number in range(60, 100):
            model |= fill(db, number, number + 1)
    assert len(model) > 60
    if restart:
        machine.bury(db)
        db = open_(segment_bytes=SEGMENT_BYTES)
    check(db, model)


class DyingLog:
    """The map of a log; the process dies at storing into it for the time after `stores`."""

    def __init__(self, real: Any, stores: int) -> None:
        self._real, self._left = real, stores

    def __getitem__(self, place: Any) -> Any:
        return self._real[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        if not self._left:
            raise Death
        self._left -= 1
        self._real[place] = value


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("stores", [0, 1])
def test_death_while_a_record_is_stored(
    db: DB, machine: Machine, open_: Open, stores: int, restart: bool
) -> None:
    """Nothing reaches as far as its tip before all of its bytes are there."""
    model = fill(db, 0, 10)
    active = db._store.structure.view.active
    real, active.log = active.log, DyingLog(active.log, stores)  # type: ignore[assignment]
    with pytest.raises(Death):
        db.put(b"0", b"never acknowledged")
    active.log = real
    if restart:
        machine.bury(db)
        db = open_(segment_bytes=SEGMENT_BYTES)
    check(db, model | fill(db, 10, 20))


def test_zeros_are_no_torn_tail(db: DB, machine: Machine, open_: Open, caplog: Any) -> None:
    """After a reboot nothing is reported as lost, since nothing is."""
    model = fill(db, 0, 10)
    machine.bury(db)
    machine.reboot()
    db = open_(segment_bytes=SEGMENT_BYTES)
    assert caplog.messages == []
    check(db, model)


@pytest.mark.parametrize("left", [2000, 30_000])
@pytest.mark.parametrize("answer", ["short", "refused"])
def test_a_disk_with_less_left_than_is_written_ahead(db: DB, answer: str, left: int) -> None:
    """The space that is left still takes records; only then is the disk full."""
    model = {}

    def pwrite(real: Pwrite, fd: int, data: Any, offset: int) -> int:
        room = HEADER_BYTES + left - offset
        if room <= 0 or (answer == "refused" and len(data) > room):
            raise OSError(28, "No space left on device")
        return real(fd, data[:room], offset)

    real = db._store.directory.files.pwrite
    files = db._store.directory.files
    with writing(db, pwrite), pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "pwrite", lambda fd, data, offset: pwrite(real, fd, data, offset))
        with pytest.raises(OSError, match="free some space") as caught:  # noqa: PT012 - until it is full
            for number in range(100):
                model |= fill(db, number, number + 1)
    assert caught.value.errno == 28
    assert sum(map(len, model.values())) > left - 1200
    check(db, model)


def test_where_each_put_is_synced_no_record_is_stored_through_the_map(open_: Open) -> None:
    for durability, stores in (("always", False), ("interval", True), ("os", True)):
        db = open_(durability=durability)
        assert db._store.structure.view.active.mapped_writes is stores
        db.put(b"k", durability.encode())
        assert db.get(b"k") == durability.encode()
        db.close()
