"""Crash at every call that changes the disk: what comes back is a state of the store, and none too old.

A workload runs once on a recorded disk. Then, for each step of the record, the store is opened from what a
crash in that moment could have left: of the processes alone; of the machine, with nothing, all, or any part
of what was not synced; or of a file system that lost all of that while the machine went on. What is found
must be the content after some operation, and no older than what the durability level had promised by then.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.crash.work import Judge, Run, Setting, allowed, dice, fast_place
from tests.support.crash_files import (
    CrashFiles,
    Disk,
    Image,
    everything,
    nothing,
    read_image,
    some,
    write_image,
)

# An eviction needs a budget; without one, a sync takes its place.
STORE = Setting("os")
CACHE = Setting("always", 2**18, "xfs")  # where each record is a write of its own
LAZY_CACHE = Setting("os", 2**18)  # what is evicted must not be needed by a crash that loses what replaced it
OPERATIONS = {
    STORE: ("put", "delete", "batch", "prefix", "clear", "rotate", "merge", "sweep", "sync", "close"),
    CACHE: ("put", "delete", "batch", "prefix", "clear", "rotate", "merge", "evict", "split", "close"),
}
OPERATIONS[LAZY_CACHE] = (*OPERATIONS[CACHE][:-1], "sync", "close")
LONG = int(os.environ.get("STRATAKV_CRASH_RUNS", "8"))  # random workloads of each setting
OPERATIONS_IN_LONG = 25
LEAST_POINTS = 20_000
SAME_BOOT = ("killed", "unmounted after an error")

settings = pytest.mark.parametrize("setting", [STORE, CACHE], ids=["store", "cache"])
all_settings = pytest.mark.parametrize("setting", [STORE, CACHE, LAZY_CACHE], ids=["store", "cache", "lazy"])


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_place(), prefix="stratakv-crash-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def judge(place: Path) -> Judge:
    judge = Judge(place / "judged")
    judge.place.mkdir()
    return judge


@pytest.fixture
def report(judge: Judge, record_property: Callable[[str, object], None]) -> Iterator[None]:
    points, images = judge.points, judge.images
    yield
    record_property("crash points", judge.points - points)
    record_property("images", judge.images - images)


def test_what_is_recorded_is_what_is_there(place: Path) -> None:
    """Else the crash tests would be about another disk than that of the store."""
    run = record(place, CACHE, ("put", "rotate", "merge", "batch", "evict", "clear", "close", "put"))
    *_, disk = run.files.moments()
    assert disk.after(everything) == read_image(run.root)


@settings
@pytest.mark.parametrize("length", [1, 2, 3])
def test_all_sequences(setting: Setting, length: int, place: Path, judge: Judge, report: None) -> None:
    """Crashes in all but the last operation are those of a shorter sequence."""
    before = base(place, setting)
    points = judge.points
    for operations in itertools.product(OPERATIONS[setting], repeat=length):
        run = record(place, setting, operations, before)
        crash_at_each_step(run, judge, operations, since=run.began[-1])
    assert judge.points - points >= (LEAST_POINTS if length == 3 else 0)


@settings
def test_the_making_of_a_store(setting: Setting, place: Path, judge: Judge, report: None) -> None:
    run = record(place, setting, ("put",))
    crash_at_each_step(run, judge, "creation", parts=8)


@all_settings
@pytest.mark.parametrize("seed", range(LONG))
def test_long_runs(setting: Setting, seed: int, place: Path, judge: Judge, report: None) -> None:
    choice = dice("long", seed)
    operations = choice.choices((*OPERATIONS[setting], "maintain"), k=OPERATIONS_IN_LONG)
    run = record(place, setting, operations)
    crash_at_each_step(run, judge, (seed, operations))


@settings
def test_crashes_in_the_recovery_from_a_crash(
    setting: Setting, place: Path, judge: Judge, report: None
) -> None:
    """A recovery that breaks off and begins again leaves no less than one that is let alone."""
    choice = dice("recovery", setting)
    before = base(place, setting)
    for number in range(40):
        operations = choice.choices(OPERATIONS[setting], k=4)
        run = record(place, setting, operations, before)
        position = choice.randrange(len(run.files.trace))
        disk = disk_at(run, position)
        image = disk.after(some(number))
        path = place / "again"
        write_image(image, path)
        again = Run(path, setting, CrashFiles(path, boot=2))
        again.end()
        shutil.rmtree(path)
        promised = allowed(run, position)
        for (at, name), left in images_of(again, number, parts=1):
            found = judge.content(left, setting, boot=2 if name in SAME_BOOT else 3)
            assert found in promised, (operations, position, number, at, name)


# -- recording ---------------------------------------------------------------------------------------------


def base(place: Path, setting: Setting) -> Image:
    """A store of one merged and one young segment, some of its keys read, closed."""
    run = Run(empty(place), setting)
    for key in (b"a", b"b", b"c"):
        run.db.put(key, key * 20)
    run.do("merge")
    run.db.put(b"b", b"newer")
    for key in (b"a", b"b"):
        run.db.get(key)
    run.do("rotate")
    run.db.close()
    return read_image(run.root)


def empty(place: Path) -> Path:
    path = place / "recorded"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def record(place: Path, setting: Setting, operations: Sequence[str], before: Image | None = None) -> Run:
    path = empty(place)
    if before:
        path.rmdir()
        write_image(before, path)
    run = Run(path, setting)
    for operation in operations:
        run.do(operation)
    run.end()
    return run


# -- crashing ----------------------------------------------------------------------------------------------


def crash_at_each_step(run: Run, judge: Judge, what: object, parts: int = 1, since: int = 0) -> None:
    """since: the step of the record at which to begin."""
    for (position, name), image in images_of(run, 0, parts, since):
        boot = 1 if name in SAME_BOOT else 2
        states = allowed(run, position, killed=name == "killed")
        found = judge.content(image, run.setting, boot=boot)
        assert found in states, f"{what}: {name} at step {position}, {run.files.trace[position].change}"


def disks(run: Run) -> Iterator[tuple[int, Disk]]:
    """Return each position in the trace with the disk before its call."""
    return zip(range(len(run.files.trace)), run.files.moments(), strict=False)


def disk_at(run: Run, position: int) -> Disk:
    return next(disk for place, disk in disks(run) if place == position)


def crashes(disk: Disk, seed: int, parts: int) -> Iterator[tuple[str, Image]]:
    kept = disk.after(everything)
    yield "killed", kept
    yield "everything is on disk", kept
    synced = disk.after(nothing)
    yield "only what was synced is", synced
    yield "unmounted after an error", synced
    for part in range(parts):
        yield f"part {part} is", disk.after(some(seed * 1000 + part))


def images_of(run: Run, seed: int, parts: int, since: int = 0) -> Iterator[tuple[tuple[int, str], Image]]:
    for position, disk in disks(run):
        if position >= since:
            for name, image in crashes(disk, seed + position, parts):
                yield (position, name), image
