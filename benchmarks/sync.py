"""`python -m benchmarks sync`: what it costs to have each put on the disk, alone and in company.

Alone, beside a bare loop that writes as many bytes to a file and syncs it after each: a file that grows, as a
log does, and one whose blocks were there before. In company, threads of one process, or processes: puts that
wait at the same time share a sync, so that together they do more than one of them alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.children import Child
from benchmarks.spread import Spread, Timing, compare
from benchmarks.workload import KEY_BYTES, random_key
from stratakv.files import Files
from stratakv.record import HEADER_BYTES

THREADS, PROCESSES = 16, 8
_OURS = "StrataKV"


@dataclass(frozen=True, slots=True)
class Company:
    """So many threads or processes at once. ratio: of the puts per second to those of one, same round.

    puts_per_sync: how many puts each sync made durable.
    """

    name: str
    puts_per_second: Spread
    puts_per_sync: Spread
    ratio: Spread


@dataclass(frozen=True, slots=True)
class SyncReport(report.Report):
    """What one run found out."""

    settings: dict[str, str]
    timings: Sequence[Timing]
    company: Sequence[Company]

    def table(self) -> Table:
        """Return a row for each loop, and for each number of threads and processes."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("put, each on disk")
        for heading in ("µs", "ratio", "quartiles", "puts/s", "puts/sync", "times one", "quartiles"):
            table.add_column(heading, justify="right")
        for timing in self.timings:
            table.add_row(timing.peer, f"{timing.microseconds.median:.1f}", *report.cells(timing.ratio))
        table.add_section()
        for each in self.company:
            speed = f"{each.puts_per_second.median:,.0f}", f"{each.puts_per_sync.median:.1f}"
            table.add_row(each.name, "", "", "", *speed, *report.cells(each.ratio))
        return table


class _Loop(Protocol):
    """What is timed: `put` makes so many values durable, one after the other."""

    def put(self, values: Sequence[bytes]) -> None: ...


class _Strata:
    def __init__(self, path: Path) -> None:
        self.db = stratakv.open(path, durability="always", maintenance="manual")

    def put(self, values: Sequence[bytes]) -> None:
        for value in values:
            self.db.put(random_key(), value)


class _Bare:
    """Writes records as long as the store's to a file. size: bytes that the file has from the beginning."""

    def __init__(self, path: Path, size: int) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self.fd, bytes(size), 0)
        os.fsync(self.fd)
        self._end = 0

    def put(self, values: Sequence[bytes]) -> None:
        for value in values:
            key = random_key()
            self._end += os.pwrite(self.fd, bytes(HEADER_BYTES) + key + value, self._end)
            os.fdatasync(self.fd)


def run(
    place: Path,
    puts: int,
    value_bytes: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> SyncReport:
    """Measure below `place`: `puts` in each round alone, and for so many seconds in company."""
    progress("alone")
    timings = _alone(place, puts, value_bytes, rounds)
    company = _in_company(place / "shared", value_bytes, rounds, seconds, progress)
    return SyncReport(
        benchmark="sync",
        parameters={"key_bytes": KEY_BYTES, "value_bytes": value_bytes, "puts": puts, "rounds": rounds},
        machine={**report.machine("stratakv"), "file system": Files().file_system(place)},
        settings={_OURS: 'durability="always"', "bare": "pwrite and fdatasync, of as many bytes"},
        timings=timings,
        company=company,
    )


def _alone(place: Path, puts: int, value_bytes: int, rounds: int) -> list[Timing]:
    whole = rounds * puts * (HEADER_BYTES + KEY_BYTES + value_bytes)
    ours = _Strata(place / "alone")
    growing, whole_file = _Bare(place / "growing", 0), _Bare(place / "whole", whole)
    loops: dict[str, _Loop] = {
        _OURS: ours,
        "bare, the file grows": growing,
        "bare, its blocks are there": whole_file,
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    value = os.urandom(value_bytes)
    for _ in range(rounds):
        for name in random.sample(list(loops), len(loops)):
            begun = perf_counter_ns()
            loops[name].put([value] * puts)
            times[name].append((perf_counter_ns() - begun) / 1000 / puts)
    ours.db.close()
    for bare in (growing, whole_file):
        os.close(bare.fd)
    return compare("put", times, _OURS)


def _in_company(
    path: Path, value_bytes: int, rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Company]:
    kinds = {"one": (1, 1), f"{THREADS} threads": (1, THREADS), f"{PROCESSES} processes": (PROCESSES, 1)}
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    shared: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name in random.sample(list(kinds), len(kinds)):
            progress(f"round {number + 1}: {name}")
            found = _together(path, *kinds[name], value_bytes, seconds)
            puts, syncs = sum(each["puts"] for each in found), sum(each["syncs"] for each in found)
            speeds[name].append(sum(each["puts"] / each["seconds"] for each in found))
            shared[name].append(puts / syncs)
    ratios = {
        name: [many / one for many, one in zip(speeds[name], speeds["one"], strict=True)] for name in kinds
    }
    return [Company(name, *(Spread.of(each[name]) for each in (speeds, shared, ratios))) for name in kinds]


def _together(
    path: Path, processes: int, threads: int, value_bytes: int, seconds: float
) -> list[dict[str, float]]:
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child("durable", path, threads, value_bytes, seconds))
            for _ in range(processes)
        ]
        for child in children:
            child.begin()
        return [child.result() for child in children]
