"""The clock. In every round each peer does the same work once, in a random order.

The machine's noise (a neighbour, the disk writing back) lasts longer than a round, so it meets all peers of
a round alike: what may be compared is their times within a round, not those of different rounds. In a fixed
order, one peer would always find the processor's caches as the same other one leaves them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from benchmarks.peers import Peer


class WrongAnswerError(Exception):
    """A peer did not do the work it was timed for."""


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work: `run` performs `operations` of them on a peer, and must return `answer`."""

    run: Callable[[Peer], Any]
    operations: int
    answer: object


def race(peers: Sequence[Peer], rounds: Sequence[Round]) -> dict[str, list[float]]:
    """Return what each peer took in each round, in microseconds per operation; raises WrongAnswerError."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for each in rounds:
        for peer in random.sample(peers, len(peers)):
            begun = perf_counter_ns()
            answer = each.run(peer)
            ended = perf_counter_ns()
            if answer != each.answer:
                raise WrongAnswerError(f"{peer.name} answered {answer!r:.80} instead of {each.answer!r:.80}")
            times[peer.name].append((ended - begun) / 1000 / each.operations)
    return times
