"""`python -m benchmarks open`: opening a large store, and the memory that takes.

The store is opened by fresh processes, one after the other and nobody else, after the puts and again after
a compaction. Its files are in the kernel's cache, as those of a store in use are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.spread import Spread

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Opening:
    """What opening the store in one state took, get included where it says so. MB are 10⁶ bytes.

    private_mb: growth of private memory by open and one get. dirty_mb: the part the kernel cannot drop.
    """

    state: str
    segments: int
    open_ms: Spread
    first_get_ms: Spread
    private_mb: Spread
    dirty_mb: Spread


@dataclass(frozen=True, slots=True)
class OpeningReport(report.Report):
    """What one run found out."""

    openings: Sequence[Opening]

    def table(self) -> Table:
        """Return a row for each figure in each state of the store."""
        table = report.titled_table(self.benchmark, self.parameters, self.machine)
        table.add_column("store")
        table.add_column("")
        for heading in ("median", "quartiles"):
            table.add_column(heading, justify="right")
        for opening in self.openings:
            table.add_section()
            state = f"{opening.state} (segments: {opening.segments})"
            table.add_row(state, "open, ms", *report.cells(opening.open_ms))
            table.add_row(state, "first get, ms", *report.cells(opening.first_get_ms))
            table.add_row(state, "private memory, MB", *report.cells(opening.private_mb))
            table.add_row(state, "of it dirty, MB", *report.cells(opening.dirty_mb))
        return table


def run(
    directory: Path, keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
) -> OpeningReport:
    """Make a store of `keys` keys below `directory`, and open it in `rounds` processes in each state."""
    path = directory / "store"
    progress("put")
    with stratakv.open(path, durability="os") as db:
        for _ in range(keys):
            key = os.urandom(32).hex()
            db.put(key.encode(), os.urandom(value_bytes))
        segments = len(db.stats().segments)
    progress("open")
    after_puts = _measure("after the puts", segments, path, key, rounds)
    progress("compact")
    with stratakv.open(path, durability="os") as db:
        db.compact()
        segments = len(db.stats().segments)
    progress("open")
    compacted = _measure("compacted", segments, path, key, rounds)
    parameters = {"keys": keys, "key_bytes": len(key), "value_bytes": value_bytes, "rounds": rounds}
    return OpeningReport("open", parameters, report.machine("stratakv"), (after_puts, compacted))


def _measure(state: str, segments: int, path: Path, key: str, rounds: int) -> Opening:
    found = [probe(path, key) for _ in range(rounds)]
    return Opening(state, segments, **{name: Spread.of([one[name] for one in found]) for name in found[0]})


def probe(path: Path, *keys: str) -> dict[str, float]:
    """Return what opening a store and reading `keys` takes in a fresh process, see `benchmarks.probe`."""
    command = [sys.executable, "-m", "benchmarks.probe", str(path), *keys]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found
