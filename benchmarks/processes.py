"""`python -m benchmarks processes`: one store, and many processes that get and put at once."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import sample
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks import report, servers
from benchmarks.charts import Bars, Chart
from benchmarks.children import Child
from benchmarks.peers import Candidate, entrants
from benchmarks.sharing import CANDIDATES, SERVERS
from benchmarks.spread import Spread, percentile
from benchmarks.worker import OPERATIONS, keys_of, payload_bytes
from benchmarks.workload import KEY_BYTES

GETS = 90  # in a hundred operations
PERCENTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Crowd:
    """How the processes did on one peer, over the rounds.

    per_second: operations of all processes together. ratio: the peer's divided by the reference's in the same
    round: below 1, the reference does more. microseconds: of single operations, by "get p99" and the like.
    """

    peer: str
    per_second: Spread
    ratio: Spread
    microseconds: dict[str, Spread]


@dataclass(frozen=True, slots=True)
class ProcessesReport(report.Report):
    """What one run found out; the first of `crowds` is the reference. absent: why others took no part."""

    settings: dict[str, str]
    absent: dict[str, str]
    crowds: Sequence[Crowd]

    def table(self) -> Table:
        """Return a row for each peer."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.absent, self.machine)
        table.add_column("peer")
        for heading in ("operations/s", "ratio", "quartiles", *self.crowds[0].microseconds):
            table.add_column(f"{heading}, µs" if heading[-1].isdigit() else heading, justify="right")
        for crowd in self.crowds:
            times = (report.digits(each.median) for each in crowd.microseconds.values())
            table.add_row(crowd.peer, f"{crowd.per_second.median:,.0f}", *report.cells(crowd.ratio), *times)
        return table

    def charts(self) -> Sequence[Chart]:
        """Return the percentiles of all peers."""
        groups = {
            name: {crowd.peer: crowd.microseconds[name].median for crowd in self.crowds}
            for name in self.crowds[0].microseconds
        }
        return [Bars("times", f"{self.parameters['processes']} processes at once", "µs", groups)]


def run(
    place: Path,
    keys: int,
    value_bytes: int,
    processes: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> ProcessesReport:
    """Let `processes` use each peer in turn for some seconds, in each of the rounds."""
    present, absent = entrants(CANDIDATES)
    samples: dict[str, list[dict[str, float]]] = {each.name: [] for each in present}
    with ExitStack() as stack:
        paths = {}
        for each in present:
            progress(f"{each.name}: put")
            paths[each.name] = _fill(each, place, keys, value_bytes, stack)
        for turn in range(rounds):
            for each in sample(present, len(present)):
                progress(f"round {turn + 1}: {each.name}")
                arguments = (each.name, paths[each.name], keys, value_bytes, GETS, seconds)
                samples[each.name].append(_use(place, processes, arguments))
    base = [each["per_second"] for each in samples[present[0].name]]
    parameters = {"processes": processes, "percent_gets": GETS, "keys": keys, "key_bytes": KEY_BYTES}
    return ProcessesReport(
        benchmark="processes",
        parameters={**parameters, "value_bytes": value_bytes, "rounds": rounds},
        machine=report.machine("stratakv", "lmdb", "diskcache", "redis", "hiredis") | servers.versions(),
        settings={each.name: each.settings for each in present},
        absent=absent,
        crowds=[_crowd(name, found, base) for name, found in samples.items()],
    )


def _fill(candidate: Candidate, place: Path, keys: int, value_bytes: int, stack: ExitStack) -> Path:
    """Make the store; return where it is found, until the end of `stack`."""
    path = place / candidate.name
    if candidate.name in SERVERS:
        path = Path(stack.enter_context(closing(SERVERS[candidate.name]())).unix_socket)
    with closing(candidate.open(path, payload_bytes(keys, value_bytes))) as store:
        store.put([(key, os.urandom(value_bytes)) for key in keys_of(keys)])
    return path


def _use(place: Path, processes: int, arguments: Iterable[object]) -> dict[str, float]:
    """Let them use one store; return what they did in a second, and the percentiles of their times."""
    with TemporaryDirectory(dir=place) as folder, ExitStack() as stack:
        files = [Path(folder) / str(number) for number in range(processes)]
        workers = [stack.enter_context(Child("worker", *arguments, file)) for file in files]
        for worker in workers:
            worker.begin()
        done = [worker.result() for worker in workers]
        found = {"per_second": sum(each["operations"] / each["seconds"] for each in done)}
        for operation in OPERATIONS:
            times = array("Q")
            for file in files:
                times.frombytes(file.with_suffix(f".{operation}").read_bytes())
            ordered = sorted(times)
            for name, share in PERCENTILES.items():
                found[f"{operation} {name}"] = percentile(ordered, share)
    return found


def _crowd(peer: str, samples: Sequence[dict[str, float]], base: Sequence[float]) -> Crowd:
    spreads = {name: Spread.of([each[name] for each in samples]) for name in samples[0]}
    per_second = spreads.pop("per_second")
    ratios = [each["per_second"] / ours for each, ours in zip(samples, base, strict=True)]
    return Crowd(peer, per_second, Spread.of(ratios), spreads)
