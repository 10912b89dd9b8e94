"""`python -m benchmarks scale`: what a store costs as it grows, from a thousandth of its keys to all of them.

All stores are open in one process, and have their turns in each round, so that ratios are of the same
moments. They are opened by fresh processes, one after the other and nobody else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, perf_counter_ns

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.charts import Chart, Lines
from benchmarks.numbered import keys_of, value_of
from benchmarks.opening import probe
from benchmarks.rounds import WrongAnswerError
from benchmarks.spread import Spread
from benchmarks.workload import KEY_BYTES
from stratakv.keep import LINGER

_STEPS = (1000, 100, 10, 1)  # parts of the most keys
_REFERENCE = 1  # of the steps: ratios are to a store of a hundredth
# In one round, of each kind: short enough that most are over before the kernel lets another program go on.
_READS, _PUTS = 300, 50
_OPENINGS = 9  # at most so many fresh processes
_PROBES = 1000  # keys that a fresh process reads


@dataclass(frozen=True, slots=True)
class Size:
    """The store of so many keys, settled.

    put, get, miss: microseconds for each. get_ratio, miss_ratio: to the reference store's, in the same round.
    fill_us: of one of all the puts that made it. settle_seconds: what maintenance took after the last of
    them. open_ms, first_get_ms, private_mb, dirty_mb: see `benchmarks.probe`.
    """

    keys: int
    segments: int
    index_bytes_per_key: float
    disk_bytes_per_key: float
    put: Spread
    get: Spread
    miss: Spread
    get_ratio: Spread
    miss_ratio: Spread
    open_ms: Spread
    first_get_ms: Spread
    private_mb: Spread
    dirty_mb: Spread
    fill_us: float
    settle_seconds: float


@dataclass(frozen=True, slots=True)
class ScaleReport(report.Report):
    """What one run found out. reference: the number of keys whose store the ratios are to."""

    settings: dict[str, str]
    reference: int
    sizes: Sequence[Size]

    def charts(self) -> Sequence[Chart]:
        """Return the operations, and opening, over the number of keys."""
        return (
            self._chart("operations", "operations, by keys in the store", "µs", ("put", "get", "miss")),
            self._chart("opening", "opening, by keys in the store", "ms", ("open_ms", "first_get_ms")),
        )

    def _chart(self, name: str, title: str, unit: str, fields: Sequence[str]) -> Chart:
        lines = {
            field.removesuffix("_ms").replace("_", " "): [
                (size.keys, getattr(size, field).median) for size in self.sizes
            ]
            for field in fields
        }
        return Lines(name, title, "keys", unit, lines)

    def table(self) -> Table:
        """Return a column for each number of keys."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("keys")
        for size in self.sizes:
            table.add_column(f"{size.keys:,}", justify="right")
        for label, cell in _ROWS.items():
            table.add_row(label, *map(cell, self.sizes))
            if label in ("miss, ratio", "private memory, MB"):
                table.add_section()
        return table


def _spread(name: str) -> Callable[[Size], str]:
    return lambda size: "{} ({})".format(*report.cells(getattr(size, name)))


_ROWS: dict[str, Callable[[Size], str]] = {
    "put, µs": _spread("put"),
    "get, µs": _spread("get"),
    "miss, µs": _spread("miss"),
    "get, ratio": _spread("get_ratio"),
    "miss, ratio": _spread("miss_ratio"),
    "open, ms": _spread("open_ms"),
    "first get, ms": _spread("first_get_ms"),
    "memory of its own, MB": _spread("dirty_mb"),
    "private memory, MB": _spread("private_mb"),
    "index, bytes a key": lambda size: f"{size.index_bytes_per_key:.1f}",
    "disk, bytes a key": lambda size: f"{size.disk_bytes_per_key:.1f}",
    "segments": lambda size: f"{size.segments}",
    "filling, µs a put": lambda size: f"{size.fill_us:.1f}",
    "settling, s": lambda size: f"{size.settle_seconds:.1f}",
}


class Store:
    """One of the stores: the keys numbered from 0 to `keys` are there, and no others."""

    def __init__(self, path: Path, keys: int, value_bytes: int) -> None:
        self.path = path
        self.keys = keys
        self.fill_us = self.settle_seconds = 0.0
        self._value_bytes = value_bytes
        self._times: dict[str, list[float]] = {"put": [], "get": [], "miss": []}

    def fill(self, turns: int) -> None:
        """Make the store, but for what `turns` of puts will add, and wait until it is at rest."""
        with stratakv.open(self.path, durability="os") as db:
            begun = perf_counter()
            filled = self.keys - turns * self._puts(turns)
            for key in keys_of(range(filled)):
                db.put(key, value_of(key, self._value_bytes))
            full = perf_counter()
            db.maintain(linger=LINGER)  # as the process in the background does
            self.fill_us = (full - begun) * 1e6 / max(1, filled)
            self.settle_seconds = perf_counter() - full - LINGER

    def put(self, db: stratakv.DB, turn: int, turns: int) -> None:
        """Time one of several turns of puts, which end with all keys there."""
        puts = self._puts(turns)
        start = self.keys - (turns - turn) * puts
        items = [(key, value_of(key, self._value_bytes)) for key in keys_of(range(start, start + puts))]
        put = db.put
        begun = perf_counter_ns()
        for key, value in items:
            put(key, value)
        self._note("put", begun, puts)

    def read(self, db: stratakv.DB) -> None:
        """Time one turn of gets of keys that are there, and one of keys that are not."""
        get = db.get
        reads = min(_READS, self.keys)
        present = list(keys_of(random.sample(range(self.keys), reads)))
        begun = perf_counter_ns()
        for key in present:
            value = get(key)
        self._note("get", begun, reads)
        if value != value_of(key, self._value_bytes):
            raise WrongAnswerError(f"{key!r} has a wrong value")
        absent = list(keys_of(random.sample(range(self.keys, 2 * self.keys), reads)))
        begun = perf_counter_ns()
        for key in absent:
            value = get(key)
        self._note("miss", begun, reads)
        if value is not None:
            raise WrongAnswerError(f"{key!r} is there")

    def result(self, reference: Store, opened: Sequence[dict[str, float]]) -> Size:
        with stratakv.open(self.path, durability="os", maintenance="manual") as db:
            stats = db.stats()
        times, base = self._times, reference._times
        return Size(
            keys=self.keys,
            segments=len(stats.segments),
            index_bytes_per_key=sum(segment.index_bytes for segment in stats.segments) / self.keys,
            disk_bytes_per_key=stats.disk_bytes / self.keys,
            **{name: Spread.of(taken) for name, taken in times.items()},
            **{
                f"{name}_ratio": Spread.of([a / b for a, b in zip(times[name], base[name], strict=True)])
                for name in ("get", "miss")
            },
            **{name: Spread.of([each[name] for each in opened]) for name in opened[0]},
            fill_us=self.fill_us,
            settle_seconds=self.settle_seconds,
        )

    def probe(self) -> dict[str, float]:
        """Open the store in a fresh process, and read some of its keys."""
        keys = random.sample(range(self.keys), min(_PROBES, self.keys))
        return probe(self.path, *[key.decode() for key in keys_of(keys)])

    def _note(self, operation: str, begun: int, operations: int) -> None:
        self._times[operation].append((perf_counter_ns() - begun) / 1000 / operations)

    def _puts(self, turns: int) -> int:
        return max(1, min(_PUTS, self.keys // (2 * turns)))


def run(
    place: Path, most_keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
) -> ScaleReport:
    """Make the stores below `place`, and measure them by turns."""
    stores = [Store(place / f"{most_keys // part}", most_keys // part, value_bytes) for part in _STEPS]
    for store in stores:
        progress(f"put {store.keys:,}")
        store.fill(rounds)
    progress("measure")
    measure(stores, rounds)
    progress("open")
    opened = [[store.probe() for store in stores] for _ in range(min(rounds, _OPENINGS))]
    return ScaleReport(
        benchmark="scale",
        parameters={"key_bytes": KEY_BYTES, "value_bytes": value_bytes, "rounds": rounds},
        machine=report.machine("stratakv"),
        settings={"StrataKV": 'durability="os", maintenance="auto"'},
        reference=stores[_REFERENCE].keys,
        sizes=[
            store.result(stores[_REFERENCE], found)
            for store, found in zip(stores, zip(*opened, strict=True), strict=True)
        ],
    )


def measure(stores: Sequence[Store], rounds: int) -> None:
    """Let the stores have their turns: of puts, and when maintenance has come after, of reads."""
    with ExitStack() as stack:
        dbs = [
            stack.enter_context(stratakv.open(store.path, durability="os", maintenance="manual"))
            for store in stores
        ]
        pairs = list(zip(stores, dbs, strict=True))
        for turn in range(rounds):
            for store, db in random.sample(pairs, len(pairs)):
                store.put(db, turn, rounds)
        for db in dbs:
            db.maintain(linger=LINGER)
        for _ in range(rounds):
            for store, db in random.sample(pairs, len(pairs)):
                store.read(db)
