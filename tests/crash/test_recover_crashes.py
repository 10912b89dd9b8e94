"""A power cut at each step of `recover` and `rescue`: done again, they keep as much, and lose nothing."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import recover, rescue
from stratakv.files import Files
from tests.crash.work import Content, Setting, fast_place, machine
from tests.engine.layout import Layout
from tests.engine.machine import flip
from tests.support.crash_files import (
    CrashFiles,
    Image,
    nothing,
    read_image,
    some,
    write_image,
)

SETTING = Setting("os")


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_place(), prefix="stratakv-crash-") as path:
        yield Path(path)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], None]:
    """Makes these files those of the machine for `recover` and `rescue`."""

    def on(files: Files) -> None:
        module = importlib.import_module("stratakv.recover")  # the attribute of that name is the function
        monkeypatch.setattr(module, "Files", lambda: files)

    return on


def damaged(place: Path, manifest: str) -> Image:
    """A store with a flipped bit in the middle of the older of two young segments."""
    with stratakv.open(place / "made", durability="os", segment_bytes=8192, maintenance="manual") as db:
        layout = Layout(db)
    layout.damage(b"first 12")
    flip(layout.log("main"), 72 + 12)
    if manifest:
        (layout.path / "MANIFEST").write_bytes(b"junk")
    return read_image(layout.path)


def evidence(path: Path) -> dict[str, set[bytes]]:
    """What is in lost+found under each name, in whichever folder."""
    found: dict[str, set[bytes]] = {}
    for file in (path / "lost+found").rglob("*"):
        if file.is_file():
            found.setdefault(file.name, set()).add(file.read_bytes())
    return found


def content(path: Path) -> Content:
    with machine(Files()), SETTING.open(path) as db:
        assert db.verify().ok
        return dict(db.scan())


@pytest.mark.parametrize(
    ("mode", "manifest"),
    [("point-in-time", ""), ("point-in-time", "without a manifest"), ("salvage", "without a manifest")],
)
def test_a_power_cut_at_each_step(place: Path, on: Any, mode: str, manifest: str) -> None:
    path = place / "recovered"
    write_image(damaged(place, manifest), path)
    files = CrashFiles(path)
    on(files)
    recover(path, mode)
    files.finish()
    on(Files())
    wanted, kept = content(path), evidence(path)
    assert len(kept) >= 2
    again, seen = place / "again", 0
    for position, (step, disk) in enumerate(zip(files.trace, files.moments(), strict=False)):
        for keep in (nothing, some(position), some(position + 1000)):
            write_image(disk.after(keep), again)
            recover(again, mode)
            assert content(again) == wanted, (position, keep, step.change)
            found = evidence(again)
            for name, versions in kept.items():
                assert versions <= found.get(name, set()), (position, keep, step.change, name)
            shutil.rmtree(again)
            seen += 1
    assert seen > 80


def test_a_power_cut_while_a_store_is_set_aside(place: Path, on: Any) -> None:
    """The old store is there, whole, or the empty one is, and the old one in lost+found."""
    image = {name: data for name, data in damaged(place, "").items() if name != "000002.log"}
    path = place / "rescued"
    write_image(image, path)
    files = CrashFiles(path)
    on(files)
    assert rescue(path).action == "set aside"
    files.finish()
    on(Files())
    logs = {name: {data} for name, data in image.items() if name.endswith(".log") and data}
    assert len(logs) == 3
    again = place / "again"
    for position, (step, disk) in enumerate(zip(files.trace, files.moments(), strict=False)):
        for keep in (nothing, some(position), some(position + 1000)):
            write_image(disk.after(keep), again)
            rescue(again)
            assert content(again) == {}, (position, keep, step.change)
            found = evidence(again)
            assert all(data <= found.get(name, set()) for name, data in logs.items()), (position, keep)
            shutil.rmtree(again)
    assert position > 20
