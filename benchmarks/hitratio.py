"""`python -m benchmarks hitratio`: how often a store with a budget still has what is asked for.

Recorded traces are replayed on a real store, and beside it on simulated caches that hold as many objects as
the store ever held at a moment, or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.table import Table

from benchmarks import report, traces
from benchmarks.charts import Bars, Chart
from benchmarks.policies import POLICIES
from benchmarks.replay import VALUE_BYTES, Replay, fit, replay


@dataclass(frozen=True, slots=True)
class Result:
    """The hit ratios of one trace at one size.

    objects: how many the simulated caches hold. peak: how many the store held at most. policies: their
    ratios. above: the store's ratio less each policy's.
    """

    trace: str
    scale: str
    objects: int
    peak: int
    max_bytes: int
    store: float
    policies: dict[str, float]
    above: dict[str, float]


@dataclass(frozen=True, slots=True)
class HitRatioReport(report.Report):
    """What one run found out. means: of `above`, for each of the sizes and for "all". least: of all cases."""

    results: Sequence[Result]
    means: dict[str, dict[str, float]]
    least: dict[str, float]

    def table(self) -> Table:
        """Return a row for each trace and size, and the means below."""
        table = report.titled_table(self.benchmark, self.parameters, self.machine)
        table.add_column("trace")
        for heading in ("objects", "peak", *POLICIES, "store", *(f"store-{name}" for name in POLICIES)):
            table.add_column(heading, justify="right")
        for result in self.results:
            if result.scale == self.results[0].scale:
                table.add_section()
            ratios = [f"{ratio:.4f}" for ratio in (*result.policies.values(), result.store)]
            sizes = f"{result.objects:,}", f"{result.peak:,}"
            table.add_row(result.trace, *sizes, *ratios, *_signed(result.above))
        table.add_section()
        empty = [""] * (3 + len(POLICIES))
        for scale, above in self.means.items():
            table.add_row(f"mean, {scale}", *empty, *_signed(above))
        table.add_row("least", *empty, *_signed(self.least))
        return table

    def charts(self) -> Sequence[Chart]:
        """Return the ratios of each trace at its middle size."""
        groups = {
            f"{result.trace} {result.objects:,} objects": {"StrataKV": result.store, **result.policies}
            for result in self.results
            if result.scale == traces.MIDDLE
        }
        return [Bars("ratios", "hit ratios", "", groups, scale="linear")]


def _signed(differences: dict[str, float]) -> list[str]:
    return [f"{difference:+.4f}" for difference in differences.values()]


def run(folder: Path, place: Path, progress: Callable[[str], None]) -> HitRatioReport:
    """Replay the traces in `folder` on stores in `place`."""
    loaded = {name: traces.load(folder / name) for name in traces.TRACES}
    results = [_measure(case, loaded[case.trace], place, progress) for case in traces.cases()]
    scales = {result.scale: [r for r in results if r.scale == result.scale] for result in results}
    means = {scale: _means(group) for scale, group in {**scales, "all": results}.items()}
    least = {name: min(result.above[name] for result in results) for name in POLICIES}
    parameters = {"traces": len(loaded), "value_bytes": VALUE_BYTES}
    return HitRatioReport("hitratio", parameters, report.machine("stratakv"), results, means, least)


def _means(results: Sequence[Result]) -> dict[str, float]:
    return {name: fmean(result.above[name] for result in results) for name in POLICIES}


def _measure(case: traces.Case, keys: Sequence[int], place: Path, progress: Callable[[str], None]) -> Result:
    name = case.trace.partition(".")[0]
    requests = [b"%d" % key for key in keys]

    def attempt(max_bytes: int, puts: int | None) -> Replay:
        progress(
            f"{name}, {case.objects:,} objects, {'rehearsal' if puts else 'replay'}: {max_bytes:,} bytes"
        )
        return replay(requests, place, max_bytes, puts)

    best = fit(attempt, case.objects)
    policies = {policy: simulate(keys, case.objects) for policy, simulate in POLICIES.items()}
    return Result(
        trace=name,
        scale=case.scale,
        objects=case.objects,
        peak=best.peak,
        max_bytes=best.max_bytes,
        store=best.hit_ratio,
        policies=policies,
        above={policy: best.hit_ratio - ratio for policy, ratio in policies.items()},
    )
