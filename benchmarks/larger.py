"""`python -m benchmarks larger`: get, from a store that is larger than memory.

Each peer is filled, and read by a process in a control group with little memory: a few keys often, most of
them hardly ever, as a cache is asked. What counts is how much of what is asked for often stays in memory, and
what the rest costs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import sample
from time import sleep

from rich.table import Table

from benchmarks import report, stores
from benchmarks.children import Child
from benchmarks.control_group import limited
from benchmarks.peers import Candidate, Peer, entrants, package
from benchmarks.spread import Spread, compare
from benchmarks.worker import keys_of, payload_bytes
from benchmarks.workload import KEY_BYTES

# They have caches of their own, beside the kernel's, which are small where they are opened to be read.
_CACHES = dict.fromkeys(["RocksDB", "LevelDB"], "; that cache has 64 MiB in the process that reads")
_ALIKE = ("StrataKV", "LMDB", "RocksDB", "LevelDB", "diskcache")


def _lmdb_without_reading_ahead(path: Path, payload: int) -> Peer:
    return stores.LMDB(path, payload, readahead=False)


CANDIDATES = (
    *(each for each in stores.CANDIDATES if each.name in _ALIKE),
    Candidate("LMDB readahead=False", "as LMDB", _lmdb_without_reading_ahead, package("lmdb")),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How one peer did, for each get. ratio: the reference's time divided by the peer's, same round.

    kilobytes: read from the disk, by all threads of the process.
    """

    peer: str
    microseconds: Spread
    ratio: Spread
    kilobytes: Spread


@dataclass(frozen=True, slots=True)
class LargerReport(report.Report):
    """What one run found out; the first of `readings` is the reference. absent: why others took no part."""

    settings: dict[str, str]
    absent: dict[str, str]
    readings: Sequence[Reading]

    def table(self) -> Table:
        """Return a row for each peer."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.absent, self.machine)
        table.add_column("peer")
        for heading in ("get, µs", "ratio", "quartiles", "from disk, KB"):
            table.add_column(heading, justify="right")
        for each in self.readings:
            kilobytes = report.digits(each.kilobytes.median)
            table.add_row(each.peer, f"{each.microseconds.median:,.0f}", *report.cells(each.ratio), kilobytes)
        return table


def run(
    place: Path,
    keys: int,
    value_bytes: int,
    memory_bytes: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> LargerReport:
    """Read each peer below `place` in each of the rounds; raises control_group.NoControlGroupError."""
    present, absent = entrants(CANDIDATES)
    times: dict[str, list[float]] = {each.name: [] for each in present}
    kilobytes: dict[str, list[float]] = {each.name: [] for each in present}
    with limited(memory_bytes) as group:
        for each in present:
            progress(f"{each.name}: put")
            with closing(each.open(place / each.name, payload_bytes(keys, value_bytes))) as store:
                store.put([(key, os.urandom(value_bytes)) for key in keys_of(keys)])
                sleep(seconds)  # for what it does in the background
        for turn in range(rounds):
            for each in sample(present, len(present)):
                progress(f"round {turn + 1}: {each.name}")
                with Child("scarce", each.name, place / each.name, keys, seconds, group) as child:
                    child.begin()
                    found = child.result()
                times[each.name].append(found["microseconds"])
                kilobytes[each.name].append(found["bytes"] / 1000)
    return LargerReport(
        benchmark="larger",
        parameters={"keys": keys, "key_bytes": KEY_BYTES, "value_bytes": value_bytes}
        | {"memory_bytes": memory_bytes, "rounds": rounds},
        machine=report.machine("stratakv", "lmdb", "rocksdict", "plyvel", "diskcache")
        | {"read ahead by the kernel": _read_ahead(place)},
        settings={each.name: f"{each.settings}{_CACHES.get(each.name, '')}" for each in present},
        absent=absent,
        readings=[
            Reading(timing.peer, timing.microseconds, timing.ratio, Spread.of(kilobytes[timing.peer]))
            for timing in compare("get", times, present[0].name)
        ],
    )


def _read_ahead(place: Path) -> str:
    """Return how much the kernel reads around a page of a map that is not in memory."""
    device = place.stat().st_dev
    queue = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for above in (queue, queue.resolve().parent):  # a partition has the queue of its disk
        file = above / "queue" / "read_ahead_kb"
        if file.exists():
            return f"{file.read_text().strip()} KiB"
    return "unknown"
