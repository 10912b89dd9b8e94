"""How logs are read that are not in memory: record by record where they would not all fit into it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, prefetch, processes
from stratakv.files import Files

Open = Callable[..., DB]

SHORT, LONG = b"v" * 1000, b"v" * 60_000


@pytest.fixture(autouse=True)
def _needs_the_flags_of_maps() -> None:
    if "VmFlags" not in Path("/proc/self/smaps").read_text():
        pytest.skip("needs a kernel that shows the flags of maps in /proc")


def set_memory(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Files, "memory", lambda self: memory)


def fill(db: DB, value: bytes = SHORT, count: int = 50) -> None:
    """Write so much that several logs are sealed."""
    for number in range(count):
        db.put(b"%05d" % number, value)


def sealed(db: DB) -> set[bool]:
    """For the sealed logs: whether the kernel was told to read what is touched and nothing around it."""
    db.get(b"00001")  # with the view of now
    return {"rr" in flags_of(segment.path).split() for segment in db._store.structure.view.sealed}


def flags_of(path: Path) -> str:
    found = re.search(
        rf"{re.escape(str(path))}\n(?:\w+: .*\n)*?VmFlags: (.*)\n", Path("/proc/self/smaps").read_text()
    )
    assert found
    return found[1]


def test_a_store_that_does_not_fit_is_read_record_by_record(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db, count=20)
    assert sealed(db) == {False}  # it still fits
    fill(db)
    assert sealed(db) == {True}
    assert db.get(b"00001") == SHORT


def test_a_store_that_fits_is_read_ahead(open_: Open) -> None:
    db = open_()
    fill(db)
    assert sealed(db) == {False}


def test_long_values_are_read_ahead(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db, LONG, 10)
    assert sealed(db) == {False}


@pytest.mark.parametrize(
    "walk",
    [lambda db: db.scan(), lambda db: db.keys()],
    ids=["scan", "keys"],
)
@pytest.mark.parametrize("compacted", [False, True])
def test_what_reads_all_of_it_is_read_ahead(
    open_: Open, monkeypatch: pytest.MonkeyPatch, walk: Callable[[DB], Iterator[Any]], compacted: bool
) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db)
    if compacted:
        db.compact()
    assert sealed(db) == {True}
    walking = walk(db)
    next(walking)
    assert False in sealed(db)
    assert len(list(walking)) == 49
    assert sealed(db) == {True}
    walking = walk(db)
    next(walking)
    del walking  # given up
    assert sealed(db) == {True}


class Disk:
    """Notes what it is asked for together; a clock beside it says how long each lookup takes."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int]] = []
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr(Files, "bring_in", lambda files, log, start, end: self.asked.append((start, end)))
        monkeypatch.setattr(prefetch, "perf_counter", self.clock)

    def clock(self) -> float:
        self.now += self.seconds
        return self.now


def test_the_disk_is_asked_for_many_records_together(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db)
    db.delete_many(b"%05d" % number for number in range(40, 50))
    disk = Disk(100e-6, monkeypatch)
    wanted = [b"%05d" % number for number in (3, 4, 17, 30, 41, 99)]
    assert db.get_many(wanted) == dict.fromkeys(wanted[:4], SHORT)
    view = db._store.structure.view
    places = [found.offset for key in wanted[1:5] if (found := db._store.reader.find(view, key))]
    assert [start for start, _ in disk.asked] == places, "all but the first, which was waited for"
    assert all(1000 <= end - start <= 1100 for start, end in disk.asked)


def test_records_in_memory_are_not_asked_for(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db)
    disk = Disk(5e-6, monkeypatch)
    assert len(db.get_many(b"%05d" % number for number in range(50))) == 50
    assert disk.asked == []


def test_the_disk_is_not_asked_where_the_kernel_reads_ahead(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_()
    fill(db)
    disk = Disk(100e-6, monkeypatch)
    assert len(db.get_many(b"%05d" % number for number in range(50))) == 50
    assert disk.asked == []


def test_bad_keys_behind_a_slow_one_are_refused(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(90_000, monkeypatch)
    db = open_()
    fill(db)
    Disk(100e-6, monkeypatch)
    for bad in (7, b"", b"x" * 70_000):
        with pytest.raises(stratakv.InvalidKeyError):
            db.get_many([b"00001", b"00002", bad])  # type: ignore[list-item]


@pytest.mark.parametrize("limit", ["machine", "group"])
def test_memory_is_that_of_the_machine_or_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(processes, "_MEMORY_LIMITS", dict.fromkeys(["", "memory"], (tmp_path, "limit")))
    monkeypatch.setattr(processes, "_memory", processes._memory.__wrapped__)
    (tmp_path / "limit").write_text("max\n" if limit == "machine" else "1000\n")
    assert Files().memory() == (machine if limit == "machine" else 1000)
