"""`python -m benchmarks budget`: whether a store stays within its budget while processes write all they can.

Disk use is what `du` counts: the blocks of all files of the directory. It is looked at from outside, by a
process that does not have the store open.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.children import Child
from benchmarks.overwriting import LEAST_VALUE_BYTES, MOST_VALUE_BYTES

_WRITERS = 4
_LOOK = 0.1  # seconds between two looks at the disk
_BLOCK = 512  # bytes, of st_blocks
_DISTINCT = 2  # times the budget: what all keys together would take
_SCALE = 100  # percent


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of one way to do the maintenance. Disk use is in percent of the budget, over all looks."""

    maintenance: str
    looks: int
    most_percent: float
    median_percent: float
    puts_per_second: float
    put_bytes: int
    evicted_keys: int
    write_amplification: float


@dataclass(frozen=True, slots=True)
class BudgetReport(report.Report):
    """What one run found out."""

    kept: Sequence[Kept]

    def table(self) -> Table:
        """Return a row for each way to do the maintenance."""
        table = report.titled_table(self.benchmark, self.parameters, self.machine)
        table.add_column("maintenance")
        headings = ("most, %", "median, %", "looks", "puts/s", "MB put", "evicted", "write amplification")
        for heading in headings:
            table.add_column(heading, justify="right")
        for kept in self.kept:
            table.add_row(
                kept.maintenance,
                f"{kept.most_percent:.1f}",
                f"{kept.median_percent:.1f}",
                f"{kept.looks:,}",
                f"{kept.puts_per_second:,.0f}",
                f"{kept.put_bytes / 1e6:,.0f}",
                f"{kept.evicted_keys:,}",
                f"{kept.write_amplification:.2f}",
            )
        return table


def run(place: Path, max_bytes: int, seconds: float, progress: Callable[[str], None]) -> BudgetReport:
    """Fill stores below `place`, with maintenance in the background and without any."""
    kept = []
    for maintenance in ("auto", "manual"):
        progress(f'maintenance="{maintenance}", {seconds:g} seconds')
        kept.append(_measure(place / maintenance, maintenance, max_bytes, seconds))
    parameters = {"max_bytes": max_bytes, "writers": _WRITERS, "seconds": round(seconds)}
    return BudgetReport("budget", parameters, report.machine("stratakv"), kept)


def _measure(path: Path, maintenance: str, max_bytes: int, seconds: float) -> Kept:
    keys = _DISTINCT * max_bytes // ((LEAST_VALUE_BYTES + MOST_VALUE_BYTES) // 2)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(Child("overwriting", path, max_bytes, maintenance, keys, seconds))
            for _ in range(_WRITERS)
        ]
        for writer in writers:
            writer.begin()
        shares = []
        ends = monotonic() + seconds
        while monotonic() < ends:
            shares.append(_SCALE * disk_use(path) / max_bytes)
            sleep(_LOOK)
        found = [writer.result() for writer in writers]
    with stratakv.open(path, durability="os", maintenance="manual") as db:
        stats = db.stats()
    return Kept(
        maintenance=maintenance,
        looks=len(shares),
        most_percent=max(shares),
        median_percent=median(shares),
        puts_per_second=sum(each["puts"] / each["seconds"] for each in found),
        put_bytes=int(sum(each["bytes"] for each in found)),
        evicted_keys=stats.evicted_keys,
        write_amplification=stats.write_amplification or 0.0,
    )


def disk_use(path: Path) -> int:
    """Return the bytes of disk that the files of a directory take; they may come and go meanwhile."""
    used = 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                used += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
            except FileNotFoundError:
                continue
    return used
