"""`python -m benchmarks.scarce PEER PATH KEYS SECONDS GROUP`: read a store with a control group's memory.

Reads random keys, a few of them often, for so many seconds to fill what memory there is, and for as many
again that are measured. Nothing of the store is in memory at the beginning.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

from benchmarks.larger import CANDIDATES
from benchmarks.peers import Peer
from benchmarks.rounds import WrongAnswerError
from benchmarks.worker import keys_of

_SEED = 1
_SKEW = 4  # half of all gets are of 6 % of the keys
_AT_ONCE = 16  # between two looks at the clock


def main(peer: str, path: str, keys: int, seconds: float, group: str) -> None:
    """Print as JSON what was found: microseconds and bytes read from the disk, both for each get."""
    chosen = _chosen(keys_of(keys))
    forget(Path(path))
    Path(group).write_text(str(os.getpid()))
    (candidate,) = (each for each in CANDIDATES if each.name == peer)
    store = candidate.open(Path(path), 0)
    print("ready", flush=True)
    sys.stdin.readline()
    _read(store, chosen, seconds)
    before = _bytes_read()
    count, took = _read(store, chosen, seconds)
    print(json.dumps({"microseconds": took * 1e6 / count, "bytes": (_bytes_read() - before) / count}))
    store.close()


def forget(path: Path) -> None:
    """Let nothing of these files stay in the kernel's cache."""
    for file in filter(Path.is_file, path.rglob("*")):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def _chosen(keys: list[bytes]) -> Iterator[bytes]:
    """Yield keys for ever. Those that are read often are not those that were written together."""
    drawn = random.Random(_SEED)
    drawn.shuffle(keys)
    while True:
        yield keys[int(len(keys) * drawn.random() ** _SKEW)]


def _read(store: Peer, chosen: Iterator[bytes], seconds: float) -> tuple[int, float]:
    """Return how many keys were read, and the seconds that took."""
    count, begun = 0, perf_counter()
    while (took := perf_counter() - begun) < seconds:
        if store.get(list(islice(chosen, _AT_ONCE))) is None:
            raise WrongAnswerError("a key is not there")
        count += _AT_ONCE
    return count, took


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


if __name__ == "__main__":
    _peer, _path, _keys, _seconds, _group = sys.argv[1:]
    main(_peer, _path, int(_keys), float(_seconds), _group)
