"""`python -m benchmarks merge`: how fast segments are merged, and the memory that takes.

Many small records say what a record costs, large ones what a byte costs. The segments are as maintenance
merges them: with their indexes finished, which is measured as well. The compaction runs in a fresh process,
and its private memory is read from outside meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.children import Child
from benchmarks.probe import private_bytes
from benchmarks.spread import Spread
from benchmarks.workload import KEY_BYTES, random_key

SMALL_BYTES, LARGE_BYTES = 100, 8192
_SEGMENTS = 7  # one more, and maintenance would merge them before we do
_LOOK = 0.25  # seconds between two looks at the memory, each of which holds up the process that is looked at
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Merging:
    """What merging records of one size took. MB are 10⁶ bytes.

    finished_per_second: records whose index was finished. mb_per_second: of the log that was written.
    disk_mb_per_second: writing as many bytes to one file in the same directory, and syncing them. ratio: of
    the merge's time to that of this, in the same round. private_mb: the most that the private memory of the
    process grew at any moment. dirty_mb: the same of what the kernel cannot drop.
    """

    value_bytes: int
    records: int
    segments: int
    finished_per_second: Spread
    records_per_second: Spread
    mb_per_second: Spread
    disk_mb_per_second: Spread
    ratio: Spread
    private_mb: Spread
    dirty_mb: Spread


@dataclass(frozen=True, slots=True)
class MergingReport(report.Report):
    """What one run found out."""

    mergings: Sequence[Merging]

    def table(self) -> Table:
        """Return a row for each figure and size of values."""
        table = report.titled_table(self.benchmark, self.parameters, self.machine)
        table.add_column("merged")
        table.add_column("")
        for heading in ("median", "quartiles"):
            table.add_column(heading, justify="right")
        for merging in self.mergings:
            table.add_section()
            what = (
                f"{merging.records:,} values of {merging.value_bytes:,} bytes in {merging.segments} segments"
            )
            table.add_row(what, "finished, records/s", *report.cells(merging.finished_per_second))
            table.add_row(what, "merged, records/s", *report.cells(merging.records_per_second))
            table.add_row(what, "MB/s", *report.cells(merging.mb_per_second))
            table.add_row(what, "the disk, MB/s", *report.cells(merging.disk_mb_per_second))
            table.add_row(what, "time / the disk's", *report.cells(merging.ratio))
            table.add_row(what, "private memory, MB", *report.cells(merging.private_mb))
            table.add_row(what, "of it dirty, MB", *report.cells(merging.dirty_mb))
        return table


def run(
    place: Path, small_records: int, large_records: int, rounds: int, progress: Callable[[str], None]
) -> MergingReport:
    """Merge stores below `place`, as many times as there are `rounds`."""
    mergings = [
        _measure(place, records, value_bytes, rounds, progress)
        for records, value_bytes in ((small_records, SMALL_BYTES), (large_records, LARGE_BYTES))
    ]
    parameters = {"key_bytes": KEY_BYTES, "rounds": rounds}
    return MergingReport("merge", parameters, report.machine("stratakv"), mergings)


def _measure(
    place: Path, records: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
) -> Merging:
    samples: list[dict[str, float]] = []
    for number in range(rounds):
        with TemporaryDirectory(dir=place) as directory:
            path = Path(directory) / "store"
            progress(f"{value_bytes:,} byte values, round {number + 1}: put")
            segments, finishing = fill(path, records, value_bytes)
            progress(f"{value_bytes:,} byte values, round {number + 1}: disk")
            disk = disk_speed(Path(directory) / "written", records * (KEY_BYTES + value_bytes))
            progress(f"{value_bytes:,} byte values, round {number + 1}: merge")
            found = _compact(path)
            if found["records"] != records:
                raise RuntimeError(f"{found['records']} records are left of {records}")
            speed = found["bytes"] / found["seconds"] / 1e6
        samples.append(
            {
                "finished_per_second": records / finishing,
                "records_per_second": records / found["seconds"],
                "mb_per_second": speed,
                "disk_mb_per_second": disk,
                "ratio": disk / speed,
                "private_mb": found["private_mb"],
                "dirty_mb": found["dirty_mb"],
            }
        )
    spreads = {name: Spread.of([sample[name] for sample in samples]) for name in samples[0]}
    return Merging(value_bytes, records, segments, **spreads)


def fill(path: Path, records: int, value_bytes: int) -> tuple[int, float]:
    """Make a store of `records` under random keys, all of it on disk, and finish its indexes.

    Returns the number of its segments, and the seconds that finishing took.
    """
    each = -(-(records - 1) // _SEGMENTS)
    # Every batch is larger than such a segment, so that it gets one of its own.
    with stratakv.open(path, durability="os", maintenance="manual", segment_bytes=4096) as db:
        for start in (*range(0, records - 1, each), records - 1):  # the last one seals those before
            count = min(each, records - 1 - start) or 1
            db.put_many({random_key(): os.urandom(value_bytes) for _ in range(count)})
        db.sync()  # the merge must not wait for what it has not written
        begun = perf_counter()
        db.maintain()
        return len(db.stats().segments), perf_counter() - begun


def disk_speed(path: Path, size: int) -> float:
    """Return the MB/s of writing `size` bytes to a new file, sync included; the file is removed again.

    The second time of two: a virtual machine gets its memory as it goes, and what it has never used takes
    several times as long to write to. What is measured after this finds memory that was used before, too.
    """
    chunk = os.urandom(_CHUNK)
    for _ in range(2):
        begun = perf_counter()
        with path.open("wb", buffering=0) as file:
            for start in range(0, size, _CHUNK):
                file.write(chunk[: size - start])
            os.fdatasync(file.fileno())
        seconds = perf_counter() - begun
        path.unlink()
    return size / seconds / 1e6


def _compact(path: Path) -> dict[str, float]:
    with Child("compaction", path) as child, _memory_of(child.pid) as growth:
        child.begin()
        found = child.result()
    return {**found, **growth}


@contextmanager
def _memory_of(process: int) -> Iterator[dict[str, float]]:
    """Watch a process; yield the most that its private memory has grown, to be read at the end."""
    growth = {"private_mb": 0.0, "dirty_mb": 0.0}
    before, dirty_before = sum(private_bytes(process)), private_bytes(process)[1]
    ended = Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            with suppress(OSError):  # it has just ended
                clean, dirty = private_bytes(process)
                growth["private_mb"] = max(growth["private_mb"], (clean + dirty - before) / 1e6)
                growth["dirty_mb"] = max(growth["dirty_mb"], (dirty - dirty_before) / 1e6)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        ended.set()
        watcher.join()
