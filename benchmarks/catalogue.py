"""Which results the documentation shows, and what each of them is made of."""

from __future__ import annotations

from benchmarks.budget import BudgetReport
from benchmarks.comparison import Comparison
from benchmarks.full import FullReport
from benchmarks.hitratio import HitRatioReport
from benchmarks.larger import LargerReport
from benchmarks.latency import LatencyReport
from benchmarks.merging import MergingReport
from benchmarks.opening import OpeningReport
from benchmarks.processes import ProcessesReport
from benchmarks.recovery import RecoveryReport
from benchmarks.report import Report
from benchmarks.scale import ScaleReport
from benchmarks.seed import SeedReport
from benchmarks.steps import StepsReport
from benchmarks.sync import SyncReport

# The name of each result, and the arguments of `python -m benchmarks` that it comes from.
RUNS = {
    "engine": "engine",
    "engine-100": "engine --value-bytes 100",
    "engine-8192": "engine --value-bytes 8192",
    "django": "django",
    "processes": "processes",
    "full": "full",
    "larger": "larger",
    "hitratio": "hitratio",
    "open": "open",
    "budget": "budget",
    "latency": "latency",
    "merge": "merge",
    "merge-young": "merge --small-records 458753",
    "seed": "seed",
    "seed-always": "seed --durability always",
    "steps": "steps",
    "steps-1000": "steps --keys 1000",
    "sync": "sync",
    "scale": "scale",
    "recovery": "recovery",
}

# The report of each benchmark.
REPORTS: dict[str, type[Report]] = {
    "engine": Comparison,
    "django": Comparison,
    "processes": ProcessesReport,
    "full": FullReport,
    "larger": LargerReport,
    "hitratio": HitRatioReport,
    "open": OpeningReport,
    "budget": BudgetReport,
    "latency": LatencyReport,
    "merge": MergingReport,
    "seed": SeedReport,
    "steps": StepsReport,
    "sync": SyncReport,
    "scale": ScaleReport,
    "recovery": RecoveryReport,
}
