"""`python -m benchmarks latency`: how long gets and puts take while a merge is running, and without it.

The merge is that of the maintenance process which a store starts by itself. It is stopped and continued by
signals, so that the same store is measured by turns with and without it, a few milliseconds each, until most
of the merge is done.
"""

from __future__ import annotations

import os
import random
import signal
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter_ns, sleep

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.charts import Bars, Chart
from benchmarks.rounds import WrongAnswerError
from benchmarks.spread import Spread, percentile
from benchmarks.workload import KEY_BYTES, random_key

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_SEGMENTS = 10  # at least so many are merged
_BATCH = 500
_GETS, _PUTS = 1000, 250  # in one turn
_ENOUGH = 0.9  # of the merge: at its end it needs the writers' lock, which it must not be stopped with
_LOOK = 0.002  # seconds between two looks whether the merge has begun
_PATIENCE = 600  # seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """One percentile of the times of one operation, in microseconds, over the rounds.

    ratio: of the two in the same round. samples: the fewest that one percentile was taken from.
    """

    operation: str
    percentile: str
    alone: Spread
    merging: Spread
    ratio: Spread
    samples: int


@dataclass(frozen=True, slots=True)
class LatencyReport(report.Report):
    """What one run found out."""

    settings: dict[str, str]
    latencies: Sequence[Latency]

    def table(self) -> Table:
        """Return a row for each operation and percentile."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("operation")
        table.add_column("")
        headings = ("alone, µs", "merging, µs", "ratio", "quartiles", "samples")
        for heading in headings:
            table.add_column(heading, justify="right")
        for latency in self.latencies:
            if latency.percentile == next(iter(PERCENTILES)):
                table.add_section()
            medians = f"{latency.alone.median:.2f}", f"{latency.merging.median:.2f}"
            ratio = report.cells(latency.ratio)
            table.add_row(latency.operation, latency.percentile, *medians, *ratio, f"{latency.samples:,}")
        return table

    def charts(self) -> Sequence[Chart]:
        """Return the percentiles with the merge and without it."""
        groups = {
            f"{latency.operation} {latency.percentile}": {
                "alone": latency.alone.median,
                "merging": latency.merging.median,
            }
            for latency in self.latencies
        }
        return [Bars("times", "one operation beside a merge, and without it", "µs", groups)]


@dataclass(slots=True)
class _Times:
    """Nanoseconds of single operations."""

    get: array[int] = field(default_factory=lambda: array("q"))
    put: array[int] = field(default_factory=lambda: array("q"))


def run(
    place: Path,
    keys: int,
    value_bytes: int,
    rounds: int,
    durability: str,
    progress: Callable[[str], None],
) -> LatencyReport:
    """Merge a new store of `keys` keys below `place` in each of the rounds."""
    found = []
    for number in range(rounds):
        with TemporaryDirectory(dir=place) as directory:
            path = Path(directory) / "store"
            progress(f"round {number + 1}: put")
            present = _fill(path, keys, value_bytes)
            progress(f"round {number + 1}: finish the indexes")
            with stratakv.open(path, durability=durability, maintenance="auto") as db:
                merge = _Merge(db)
                merge.wait_for_begin()
                progress(f"round {number + 1}: merge")
                found.append(_by_turns(db, merge, present, value_bytes))
    return LatencyReport(
        benchmark="latency",
        parameters={"keys": keys, "key_bytes": KEY_BYTES, "value_bytes": value_bytes, "rounds": rounds},
        machine=report.machine("stratakv"),
        settings={"StrataKV": f'durability="{durability}", maintenance="auto"'},
        latencies=_latencies(found),
    )


def _fill(path: Path, keys: int, value_bytes: int) -> list[bytes]:
    """Make a store that has segments to merge; return its keys."""
    segment_bytes = max(4096, keys * (KEY_BYTES + value_bytes) // _SEGMENTS)
    present: list[bytes] = []
    with stratakv.open(path, durability="os", maintenance="manual", segment_bytes=segment_bytes) as db:
        while len(present) < keys:
            batch = [random_key() for _ in range(min(_BATCH, keys - len(present)))]
            db.put_many({key: os.urandom(value_bytes) for key in batch})
            present += batch
        db.sync()
    return present


class _Merge:
    """The merge that the maintenance process of a store does, seen from outside."""

    def __init__(self, db: stratakv.DB) -> None:
        stats = db.stats()
        self._db = db
        self._whole = stats.log_bytes
        self._newest = max(segment.number for segment in stats.segments)
        self._process = 0

    def wait_for_begin(self) -> None:
        """Return once it has begun, and is stopped; raises RuntimeError where none begins."""
        given_up = monotonic() + _PATIENCE
        while self.share() is None:
            if monotonic() > given_up:
                raise RuntimeError("no merge has begun")
            self._process = self._process or _maintenance_process(self._db.path)
            sleep(_LOOK)
        self.stop()

    def share(self) -> float | None:
        """Return how much of the merge is done, None where none runs.

        What it writes is the one new log of the directory that is not yet one of the store's segments.
        """
        logs = {int(path.stem): path for path in self._db.path.glob("*.log")}
        known = {segment.number for segment in self._db.stats().segments}
        sizes = [
            path.stat().st_size
            for number, path in logs.items()
            if number > self._newest and number not in known
        ]
        return max(sizes) / self._whole if sizes else None

    def stop(self) -> None:
        if not self._process:
            raise RuntimeError("the maintenance is not done by a process of its own")
        os.kill(self._process, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process, signal.SIGCONT)


def _maintenance_process(path: Path) -> int:
    """Return the id of the process that was started for the store at `path`; 0: there is none yet."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"stratakv.keep" in words and os.fsencode(path) in words:
                return int(process.name)
    return 0


def _by_turns(
    db: stratakv.DB, merge: _Merge, present: Sequence[bytes], value_bytes: int
) -> dict[str, _Times]:
    """Return the times of operations by whether the merge runs, "merging", or is stopped, "alone"."""
    times = {"merging": _Times(), "alone": _Times()}
    try:
        while _is_going_on(merge):
            _operate(db, present, value_bytes, times["alone"])
            merge.go_on()
            turn = _Times()
            _operate(db, present, value_bytes, turn)
            if not _is_going_on(merge):
                break  # it may have ended meanwhile
            merge.stop()
            times["merging"].get += turn.get
            times["merging"].put += turn.put
    finally:
        merge.go_on()
    if not times["merging"].get:
        raise RuntimeError("the merge was over too soon; take more keys")
    while merge.share() is not None:
        sleep(_LOOK)
    return times


def _is_going_on(merge: _Merge) -> bool:
    share = merge.share()
    return share is not None and share < _ENOUGH


def _operate(db: stratakv.DB, present: Sequence[bytes], value_bytes: int, times: _Times) -> None:
    """Time one turn of gets of keys that are there, and of puts of new ones."""
    get, put, note_get, note_put = db.get, db.put, times.get.append, times.put.append
    for key in random.choices(present, k=_GETS):
        begun = perf_counter_ns()
        value = get(key)
        ended = perf_counter_ns()
        note_get(ended - begun)
        if value is None:
            raise WrongAnswerError(f"{key!r} is not there")
    for key, value in [(random_key(), os.urandom(value_bytes)) for _ in range(_PUTS)]:
        begun = perf_counter_ns()
        put(key, value)
        ended = perf_counter_ns()
        note_put(ended - begun)


def _latencies(rounds: Sequence[dict[str, _Times]]) -> list[Latency]:
    found = []
    for operation in ("get", "put"):
        samples = [{state: sorted(getattr(times[state], operation)) for state in times} for times in rounds]
        for name, share in PERCENTILES.items():
            alone = [percentile(each["alone"], share) for each in samples]
            merging = [percentile(each["merging"], share) for each in samples]
            ratios = [busy / calm for busy, calm in zip(merging, alone, strict=True)]
            fewest = min(len(times) for each in samples for times in each.values())
            found.append(
                Latency(operation, name, Spread.of(alone), Spread.of(merging), Spread.of(ratios), fewest)
            )
    return found
