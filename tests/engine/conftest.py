"""Stores on a machine that obeys the test."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import open_stores as stores
from stratakv.files import Files
from stratakv.maintenance.keeper import Keeper
from tests.engine.layout import Layout
from tests.engine.machine import Machine, MachineFiles, abandon

Open = Callable[..., stratakv.DB]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine the store is on; whatever a test leaves open dies with it.

    It is one whose processors show each other what they store in its order, whatever this one is: the tests
    count steps and look for records stored through maps, and within one process that holds everywhere.
    """
    machine = Machine()
    monkeypatch.setattr(Files, "ORDERED", True)
    monkeypatch.setattr(stores, "Files", lambda: MachineFiles(machine))
    module = importlib.import_module("stratakv.recover")  # the attribute of that name is the function
    monkeypatch.setattr(module, "Files", lambda: MachineFiles(machine))
    before = set(stores._stores)
    yield machine
    for identity in set(stores._stores) - before:
        abandon(stores._stores[identity])


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintenance is done where a test asks for it, and nowhere else."""
    monkeypatch.setattr(Keeper, "wake", lambda self: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(scope="session")
def fast() -> Iterator[Path]:
    """A directory in memory, where there is one: for tests that open stores by the thousand."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as directory:
        yield Path(directory)


class Heard(logging.Handler):
    """What was logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def damage_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the store has logged as damage, and nothing of it shown."""
    logger, heard = logging.getLogger("stratakv"), Heard()
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(heard)
    yield heard.messages
    logger.removeHandler(heard)


@pytest.fixture
def open_(machine: Machine, path: Path) -> Open:
    """Open the store with small segments, and without a sync after every write."""

    def open_(**options: Any) -> stratakv.DB:
        return stratakv.open(path, **{"durability": "os", "segment_bytes": 4096, **options})

    return open_


@pytest.fixture
def db(open_: Open) -> stratakv.DB:
    return open_()


@pytest.fixture
def layout(open_: Open) -> Layout:
    layout = Layout(open_(segment_bytes=8192))
    layout.db.close()
    return layout


@pytest.fixture
def found(open_: Open) -> Callable[[], dict[bytes, bytes]]:
    def found() -> dict[bytes, bytes]:
        with open_(segment_bytes=8192) as db:
            result = dict(db.scan())
            assert db.get_many(result) == result
            assert db.verify().damage == ()
            db.put(b"after", b"v")
            db.delete(b"after")
            return result

    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until it is told to go on."""
    clock = Clock()
    monkeypatch.setattr("stratakv.reader.time.time", lambda: clock.now)
    return clock


class Clock:
    """Seconds since the epoch."""

    now = 1_800_000_000.0

    def wait(self, seconds: float) -> None:
        self.now += seconds
