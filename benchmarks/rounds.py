"""The clock. In every round each peer does the same work once, in a random order.

The machine's noise (a neighbour, the disk writing back) lasts longer than a round, so it meets all peers of
a round alike: what may be compared is their times within a round, not those of different rounds. In a fixed
order, one peer would always find the processor's caches as the same other one leaves them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

_READS = ("get", "get_many")


class WrongAnswerError(Exception):
    """A peer did not do the work it was timed for."""


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work: a peer's method of the name `call` does `work`, of so many operations.

    It must return `answer`.
    """

    call: str
    work: Sequence[Any]
    answer: object

    def run(self, name: str, peer: object) -> float:
        """Let a peer do it; return the microseconds of one operation; raises WrongAnswerError."""
        call = getattr(peer, self.call)
        begun = perf_counter_ns()
        answer = call(self.work)
        ended = perf_counter_ns()
        if answer != self.answer:
            raise WrongAnswerError(f"{name} answered {answer!r:.80} instead of {self.answer!r:.80}")
        return (ended - begun) / 1000 / len(self.work)


def warm(name: str, peer: object, rounds: Sequence[Round]) -> None:
    """Let a peer do what reads once before it is timed.

    Else it is compared who has touched which page of a map, or filled its cache, while it was writing.
    """
    for each in rounds:
        if each.call in _READS:
            each.run(name, peer)


def race(peers: Mapping[str, object], rounds: Mapping[str, Sequence[Round]]) -> dict[str, list[float]]:
    """Return the microseconds of one operation in each round, by the names of the peers.

    rounds: of each peer, as many as of any other.
    """
    times: dict[str, list[float]] = {name: [] for name in peers}
    for turn in zip(*(rounds[name] for name in peers), strict=True):
        given = dict(zip(peers, turn, strict=True))
        for name in random.sample(list(peers), len(peers)):
            times[name].append(given[name].run(name, peers[name]))
    return times
