"""What a comparison found out, as tables and a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.table import Table

from benchmarks import report
from benchmarks.charts import Bars, Chart
from benchmarks.cost import Cost
from benchmarks.spread import Timing


@dataclass(frozen=True, slots=True)
class Comparison(report.Report):
    """What one run found out.

    reference: the peer that all are compared with. settings: of each peer. absent: why others took no part.
    """

    reference: str
    settings: dict[str, str]
    absent: dict[str, str]
    timings: Sequence[Timing]
    costs: Sequence[Cost]

    def table(self) -> Table:
        """Return a row of ratios for each peer."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.absent, self.machine)
        table.add_column(f"{self.reference} / peer")
        ratios: dict[str, list[str]] = {peer: [] for peer in self.settings if peer != self.reference}
        for operation, timings in groupby(self.timings, lambda timing: timing.operation):
            table.add_column(operation, justify="right")
            for timing in timings:
                if timing.peer != self.reference:
                    ratios[timing.peer].append(report.digits(timing.ratio.median))
        for peer, cells in ratios.items():
            table.add_row(peer, *cells)
        return table

    def details(self) -> Iterable[Table]:
        """Return all figures, and what each peer costs."""
        return self._timings_table(), self._costs_table()

    def _timings_table(self) -> Table:
        table = report.plain_table()
        for heading in ("operation", "peer"):
            table.add_column(heading)
        for heading in ("µs", "quartiles", "ratio", "quartiles", "overall", "CPU µs"):
            table.add_column(heading, justify="right")
        cpu = {cost.peer: cost.cpu_us for cost in self.costs}
        for timing in self.timings:
            if timing.peer == self.reference:
                table.add_section()
                ratios = ["1", "", ""]
            else:
                ratios = [*report.cells(timing.ratio), report.digits(timing.overall_ratio)]
            taken = report.digits(cpu[timing.peer][timing.operation])
            table.add_row(timing.operation, timing.peer, *report.cells(timing.microseconds), *ratios, taken)
        return table

    def _costs_table(self) -> Table:
        table = report.plain_table()
        table.add_column("peer")
        for heading in ("keys", "CPU, s", "written, MB", "private memory, MB", "of it anonymous, MB"):
            table.add_column(heading, justify="right")
        for cost in self.costs:
            figures = (cost.cpu_seconds, cost.written_mb, cost.private_mb, cost.anonymous_mb)
            table.add_row(cost.peer, f"{cost.keys:,}", *map("{:,.1f}".format, figures))
        return table

    def charts(self) -> Sequence[Chart]:
        """Return the medians of all peers in every operation."""
        groups: dict[str, dict[str, float]] = {}
        for timing in self.timings:
            groups.setdefault(timing.operation, {})[timing.peer] = timing.microseconds.median
        sizes = f"{self.parameters['keys']:,} keys, values of {self.parameters['value_bytes']:,} bytes"
        return [Bars("times", f"{self.benchmark}: µs per operation, {sizes}", "µs", groups)]
