"""`python -m benchmarks recovery`: how long a store takes to come back, by what happened and by its size.

Each store is made once for each state, and brought back as a copy, by a fresh process that reads one key.
A reboot is a boot id that has changed: then nothing but what was synced is trusted. The files are in the
kernel's cache throughout, which after a real reboot they are not: there the disk has to be read as well.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.numbered import key_of, keys_of, value_of
from benchmarks.spread import Spread
from benchmarks.workload import KEY_BYTES
from stratakv.index import YOUNG_KEYS
from stratakv.record import HEADER_BYTES

_ROOT = Path(__file__).parents[1]
_PARTS = (100, 10, 1)  # of the most keys
_LEAST_KEYS = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One way for a store to be left, and to be brought back.

    filled: the part of the active log that is written before the end. where: of that end, see
    `benchmarks.killed`; None for an orderly one. lost: the files that are removed then. how: see
    `benchmarks.reopening`.
    """

    name: str
    filled: float
    where: str | None
    how: str = "open"
    lost: str = ""


CASES = (
    Case("closed", 0.5, None),
    Case("killed in a commit", 0.5, "inside"),
    Case("killed, log half full", 0.5, "between"),
    Case("killed, log full", 1, "between"),
    Case("rebooted after it was closed", 0.5, None, "reboot"),
    Case("rebooted, log half full", 0.5, "between", "reboot"),
    Case("rebooted, log full", 1, "between", "reboot"),
    Case("indexes lost", 0.5, None, "point-in-time", "*.idx"),
    Case("manifest lost", 0.5, None, "point-in-time", "MANIFEST*"),
    Case("all but the logs lost, salvage", 0.5, None, "salvage", "[!0-9]* *.idx"),
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What one case took with a store of so many keys.

    active_keys: of them, those in the log that was being written. ms: until one key was read, `recover`
    included. records_per_second: those that had to be read, all of the store's for `recover` and those of
    the active log otherwise.
    """

    case: str
    keys: int
    segments: int
    active_keys: int
    ms: Spread
    records_per_second: Spread


@dataclass(frozen=True, slots=True)
class RecoveryReport(report.Report):
    """What one run found out."""

    settings: dict[str, str]
    recovered: Sequence[Recovered]

    def table(self) -> Table:
        """Return a row for each case and size."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("store")
        for heading in ("keys", "in the active log", "segments", "ms", "quartiles", "records/s"):
            table.add_column(heading, justify="right")
        for each in self.recovered:
            if each.case == CASES[0].name:
                table.add_section()
            sizes = f"{each.keys:,}", f"{each.active_keys:,}", f"{each.segments}"
            speed = f"{each.records_per_second.median:,.0f}"
            table.add_row(each.case, *sizes, *report.cells(each.ms), speed)
        return table


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Of the store: its keys before anything happens, a value, and a log."""

    keys: int
    value_bytes: int
    log_bytes: int

    @property
    def most_puts(self) -> int:
        """How many puts fill a log."""
        record_bytes = HEADER_BYTES + KEY_BYTES + self.value_bytes
        return min(YOUNG_KEYS, self.log_bytes // record_bytes) - 1


def run(
    place: Path,
    most_keys: int,
    value_bytes: int,
    log_bytes: int,
    rounds: int,
    progress: Callable[[str], None],
) -> RecoveryReport:
    """Make stores below `place`, end them in each way, and bring each back in as many `rounds`."""
    recovered = []
    for keys in (most_keys // part for part in _PARTS if most_keys // part >= _LEAST_KEYS):
        sizes = _Sizes(keys, value_bytes, log_bytes)
        with TemporaryDirectory(dir=place) as directory:
            progress(f"{keys:,} keys: put")
            base = Path(directory) / "base"
            segments = _fill(base, sizes)
            for case in CASES:
                progress(f"{keys:,} keys: {case.name}")
                puts = max(1, int(sizes.most_puts * case.filled))
                found = _measure(base, case, sizes, puts, rounds)
                recovered.append(_summed_up(case, keys, segments, puts, found))
    parameters = {
        "key_bytes": KEY_BYTES,
        "value_bytes": value_bytes,
        "log_bytes": log_bytes,
        "rounds": rounds,
    }
    return RecoveryReport(
        benchmark="recovery",
        parameters=parameters,
        machine=report.machine("stratakv"),
        settings={"StrataKV": 'durability="os"; all but the active log was synced by maintenance'},
        recovered=recovered,
    )


def _fill(path: Path, sizes: _Sizes) -> int:
    """Make the store as it is before anything happens, its active log empty; return how many segments."""
    with _open(path, sizes) as db:
        for key in keys_of(range(sizes.keys)):
            db.put(key, value_of(key, sizes.value_bytes))
        db.compact()
        return len(db.stats().segments)


def _open(path: Path, sizes: _Sizes) -> stratakv.DB:
    return stratakv.open(path, durability="os", maintenance="manual", segment_bytes=sizes.log_bytes)


def _measure(base: Path, case: Case, sizes: _Sizes, puts: int, rounds: int) -> list[dict[str, float]]:
    left, copy = base.with_name("left"), base.with_name("copy")
    _copy(base, left)
    _end(left, case, sizes, puts)
    found = []
    for _ in range(rounds):
        _copy(left, copy)
        key = key_of(random.randrange(sizes.keys))
        command = [sys.executable, "-m", "benchmarks.reopening", str(copy), case.how, key.decode()]
        done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE)
        found.append(json.loads(done.stdout))
    return found


def _copy(source: Path, target: Path) -> None:
    """Copy a store, with the holes of its files: what was never written must not look as if it were."""
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-R", "--sparse=always", source, target], check=True)


def _end(path: Path, case: Case, sizes: _Sizes, puts: int) -> None:
    """Put into the store, and leave it in the state of `case`."""
    if case.where:
        arguments = (path, sizes.keys, puts, sizes.value_bytes, sizes.log_bytes, case.where)
        command = [sys.executable, "-m", "benchmarks.killed", *map(str, arguments)]
        status = subprocess.run(command, cwd=_ROOT, check=False).returncode
        if status != -SIGKILL:
            raise RuntimeError(f"a writer that was to be killed ended with status {status}")
    else:
        with _open(path, sizes) as db:
            for key in keys_of(range(sizes.keys, sizes.keys + puts)):
                db.put(key, value_of(key, sizes.value_bytes))
    for pattern in case.lost.split():
        for file in path.glob(pattern):
            file.unlink()


def _summed_up(
    case: Case, keys: int, segments: int, puts: int, found: Sequence[dict[str, float]]
) -> Recovered:
    times = [each["recover_ms"] + each["open_ms"] for each in found]
    read = keys + puts if case.how in ("point-in-time", "salvage") else puts
    speeds = [read / ms * 1000 for ms in times]
    return Recovered(case.name, keys, segments, puts, Spread.of(times), Spread.of(speeds))
