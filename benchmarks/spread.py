"""Samples of a noisy machine, summed up so that its bad moments count for little."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some samples, and the quartiles around it."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Sum up two samples or more."""
        lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, lower, upper)


@dataclass(frozen=True, slots=True)
class Timing:
    """How one peer did in one operation.

    microseconds: per operation, over the rounds. ratio: the reference's time divided by the peer's in the
    same round, over the rounds: below 1, the reference is faster. overall_ratio: the same of the times of
    all rounds together, in which rare and costly moments (a rotation, a checkpoint, a stalled disk) count
    in full.
    """

    operation: str
    peer: str
    microseconds: Spread
    ratio: Spread
    overall_ratio: float


def compare(operation: str, times: dict[str, list[float]], reference: str) -> list[Timing]:
    """Sum up the `times` of each peer: microseconds per operation in every round, in the same order."""
    base = times[reference]
    return [
        Timing(
            operation,
            peer,
            Spread.of(taken),
            Spread.of([its / mine for mine, its in zip(taken, base, strict=True)]),
            sum(base) / sum(taken),
        )
        for peer, taken in times.items()
    ]


def percentile(ordered: Sequence[int], share: float) -> float:
    """Return the time in microseconds that this share of the nanoseconds, in order, does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000
