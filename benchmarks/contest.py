"""One comparison: candidates, and the work that those of them who can take part race through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cost, report, spread
from benchmarks.comparison import Comparison
from benchmarks.peers import Candidate
from benchmarks.rounds import race
from benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Contest:
    """What a benchmark compares; the first of `candidates` is the one that all are compared with.

    work: makes the workload of so many keys, bytes of a value, and rounds. packages: whose versions matter.
    """

    benchmark: str
    candidates: Sequence[Candidate]
    work: Callable[[int, int, int], Workload[Any]]
    packages: Sequence[str]

    def run(
        self, directory: Path, keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
    ) -> Comparison:
        """Let all who can take part race in stores below `directory`, then see what each costs alone.

        progress: is told what is being measured.
        """
        absent = {candidate.name: candidate.missing() for candidate in self.candidates}
        present = [candidate for candidate in self.candidates if not absent[candidate.name]]
        workload = self.work(keys, value_bytes, rounds)
        timings = _race(present, workload, directory / "race", progress)
        costs = []
        for candidate in present:
            progress(f"cost of {candidate.name}")
            costs.append(cost.of(self.benchmark, candidate.name, directory, keys, value_bytes))
        return Comparison(
            benchmark=self.benchmark,
            parameters=workload.parameters(),
            machine=report.machine("stratakv", *self.packages),
            reference=present[0].name,
            settings={candidate.name: _settings(candidate) for candidate in present},
            absent={name: reason for name, reason in absent.items() if reason},
            timings=timings,
            costs=costs,
        )


def _race(
    candidates: Sequence[Candidate], workload: Workload[Any], place: Path, progress: Callable[[str], None]
) -> list[spread.Timing]:
    place.mkdir()
    work = {each.slowness: workload.thinned(each.slowness).operations() for each in candidates}
    with ExitStack() as stack:
        peers = {
            each.name: stack.enter_context(closing(each.open(place / each.name, workload.payload_bytes())))
            for each in candidates
        }
        timings: list[spread.Timing] = []
        for operation in work[candidates[0].slowness]:
            progress(operation)
            rounds = {each.name: work[each.slowness][operation] for each in candidates}
            timings += spread.compare(operation, race(peers, rounds), candidates[0].name)
    return timings


def _settings(candidate: Candidate) -> str:
    if candidate.slowness == 1:
        return candidate.settings
    return f"{candidate.settings}; 1/{candidate.slowness} of the keys, as it is slow"
