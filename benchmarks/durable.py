"""`python -m benchmarks.durable DIR THREADS VALUE_BYTES SECONDS`: put durably, and count the syncs.

One of several processes that may write to the same store at once; it begins when it is told a line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from threading import Thread
from time import monotonic

import stratakv
from benchmarks.workload import random_key
from stratakv.files import Files


class _Counted:
    """A sync that is counted. Only one thread of a process is inside at a time."""

    def __init__(self, sync: Callable[[int], None]) -> None:
        self._sync = sync
        self.count = 0

    def __call__(self, fd: int) -> None:
        self.count += 1
        self._sync(fd)


def main(path: str, threads: int, value_bytes: int, seconds: float) -> None:
    """Put values under new keys from so many threads for some seconds."""
    counted = _Counted(Files.fdatasync)
    Files.fdatasync = counted  # type: ignore[assignment]
    with stratakv.open(path, durability="always", maintenance="manual") as db:
        print("ready", flush=True)
        sys.stdin.readline()
        before, begun = counted.count, monotonic()
        done: list[int] = []
        writers = [
            Thread(target=lambda: done.append(_put(db, value_bytes, begun + seconds))) for _ in range(threads)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        taken, syncs = monotonic() - begun, counted.count - before
    print(json.dumps({"puts": sum(done), "syncs": syncs, "seconds": taken}))


def _put(db: stratakv.DB, value_bytes: int, until: float) -> int:
    value, puts = os.urandom(value_bytes), 0
    while monotonic() < until:
        db.put(random_key(), value)
        puts += 1
    return puts


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
