"""One comparison: candidates, and the work that those of them who can take part race through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import cost, report, spread
from benchmarks.comparison import Comparison
from benchmarks.peers import Candidate, entrants
from benchmarks.rounds import race, warm
from benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Contest:
    """What a benchmark compares; the first of `candidates` is the one that all are compared with.

    work: makes the workload of so many keys, bytes of a value, and rounds. packages: whose versions matter.
    programs: returns those of the servers.
    """

    benchmark: str
    candidates: Sequence[Candidate]
    work: Callable[[int, int, int], Workload[Any]]
    packages: Sequence[str]
    programs: Callable[[], dict[str, str]] = dict

    def run(
        self, directory: Path, keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
    ) -> Comparison:
        """Let all who can take part race in stores below `directory`, then see what each costs alone.

        progress: is told what is being measured.
        """
        present, absent = entrants(self.candidates)
        workload = self.work(keys, value_bytes, rounds)
        parameters = workload.parameters()
        with TemporaryDirectory(dir=directory) as place:
            timings = _race(present, workload, Path(place), progress)
        del workload  # it may be most of the memory of the machine, and each of those that follow makes one
        costs = []
        for candidate in present:
            progress(f"cost of {candidate.name}")
            costs.append(cost.of(self.benchmark, candidate.name, directory, keys, value_bytes))
        return Comparison(
            benchmark=self.benchmark,
            parameters=parameters,
            machine=report.machine("stratakv", *self.packages) | self.programs(),
            reference=present[0].name,
            settings={candidate.name: _settings(candidate) for candidate in present},
            absent=absent,
            timings=timings,
            costs=costs,
        )


def _race(
    candidates: Sequence[Candidate], workload: Workload[Any], place: Path, progress: Callable[[str], None]
) -> list[spread.Timing]:
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
            for name, peer in peers.items():
                warm(name, peer, rounds[name])
            timings += spread.compare(operation, race(peers, rounds), candidates[0].name)
    return timings


def _settings(candidate: Candidate) -> str:
    if candidate.slowness == 1:
        return candidate.settings
    return f"{candidate.settings}; 1/{candidate.slowness} of the keys, as it is slow"
