"""Gets that are timed one by one while a process of its own compacts the store."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter_ns

import stratakv
from benchmarks.children import Child

SLOW_MS = 1.0
_PERCENTILE = 0.999


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """The gets beside one compaction, which took so many seconds.

    slow: how many took longer than `SLOW_MS`. interrupted: of these, in how many the kernel gave the
    processor to another program; a machine with a processor for each has none of them.
    """

    seconds: float
    gets: int
    p50_us: float
    p999_us: float
    worst_us: float
    slow: int
    interrupted: int
    worst_uninterrupted_us: float


def compact(
    db: stratakv.DB, path: Path, keys: Sequence[bytes], check: Callable[[bytes, bytes | None], None]
) -> Meanwhile:
    """Let a process compact the store, and get random keys until it is done; `check` judges each value."""
    times: list[int] = []
    interrupted: list[bool] = []
    ended = Event()
    found: dict[str, float] = {}

    with Child("compaction", path) as child:
        child.begin()

        def wait() -> None:
            found.update(child.result())
            ended.set()

        waiter = Thread(target=wait)
        waiter.start()
        switches = _switches()
        while not ended.is_set():
            key = random.choice(keys)
            begun = perf_counter_ns()
            value = db.get(key)
            times.append(perf_counter_ns() - begun)
            before, switches = switches, _switches()
            interrupted.append(switches != before)
            check(key, value)
        waiter.join()
    return _summed_up(found["seconds"], times, interrupted)


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _summed_up(seconds: float, times: Sequence[int], interrupted: Sequence[bool]) -> Meanwhile:
    ordered = sorted(times)
    slow = [cut for time, cut in zip(times, interrupted, strict=True) if time > SLOW_MS * 1e6]
    calm = [time for time, cut in zip(times, interrupted, strict=True) if not cut]
    return Meanwhile(
        seconds=seconds,
        gets=len(times),
        p50_us=ordered[len(ordered) // 2] / 1000,
        p999_us=ordered[int(len(ordered) * _PERCENTILE)] / 1000,
        worst_us=ordered[-1] / 1000,
        slow=len(slow),
        interrupted=sum(slow),
        worst_uninterrupted_us=max(calm, default=0) / 1000,
    )
