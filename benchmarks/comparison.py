"""One comparison: every operation of a workload, raced by all peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks import report, spread
from benchmarks.charts import Bars, Chart
from benchmarks.peers import Peer
from benchmarks.rounds import race
from benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Comparison(report.Report):
    """What one run found out.

    reference: the peer that all are compared with. settings: of each peer.
    """

    reference: str
    settings: dict[str, str]
    timings: Sequence[spread.Timing]

    def table(self) -> Table:
        """Return a row for each operation and peer."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        for heading in ("operation", "peer"):
            table.add_column(heading)
        for heading in ("µs", "quartiles", "ratio", "quartiles", "overall"):
            table.add_column(heading, justify="right")
        for timing in self.timings:
            if timing.peer == self.reference:
                table.add_section()
                ratios = ["1"]
            else:
                ratios = [*report.cells(timing.ratio), f"{timing.overall_ratio:.2f}"]
            table.add_row(timing.operation, timing.peer, *report.cells(timing.microseconds), *ratios)
        return table

    def charts(self) -> Sequence[Chart]:
        """Return the medians of all peers in every operation."""
        groups: dict[str, dict[str, float]] = {}
        for timing in self.timings:
            groups.setdefault(timing.operation, {})[timing.peer] = timing.microseconds.median
        return [Bars("times", f"{self.benchmark}: µs per operation", "µs", groups)]


def compare(
    benchmark: str,
    peers: Sequence[Peer],
    workload: Workload[Any],
    machine: dict[str, str],
    progress: Callable[[str], None],
) -> Comparison:
    """Let `peers` race through `workload`, the first of them as the reference.

    progress: is told each operation as it begins.
    """
    reference = peers[0].name
    timings: list[spread.Timing] = []
    for operation, rounds in workload.operations().items():
        progress(operation)
        timings += spread.compare(operation, race(peers, rounds), reference)
    settings = {peer.name: peer.settings for peer in peers}
    return Comparison(benchmark, workload.parameters(), machine, reference, settings, timings)
