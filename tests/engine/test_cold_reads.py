"""How logs are read that are not in memory: record by record where they would not all fit into it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB, files
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


@pytest.mark.parametrize("limit", ["machine", "group"])
def test_memory_is_that_of_the_machine_or_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(files, "_MEMORY_LIMITS", dict.fromkeys(["", "memory"], (tmp_path, "limit")))
    (tmp_path / "limit").write_text("max\n" if limit == "machine" else "1000\n")
    assert Files().memory() == (machine if limit == "machine" else 1000)
