"""`python -m benchmarks.asking PEER PATH MAX_BYTES KEYS VALUE_BYTES REQUESTS SECONDS`: use a full cache.

Gets random keys, a few of them often, and puts those that are not there: for so many SECONDS, and until there
were so many REQUESTS.
"""

from __future__ import annotations

import json
import os
import random
import sys
from array import array
from itertools import accumulate
from pathlib import Path
from time import perf_counter, perf_counter_ns

from benchmarks.cost import seconds_of
from benchmarks.full import CANDIDATES
from benchmarks.peers import Calls
from benchmarks.spread import percentile
from benchmarks.worker import keys_of

_SKEW = 0.8  # of Zipf's law: the i-th key is asked for as often as 1 / i**_SKEW
_AT_ONCE = 1000  # requests between two looks at the clock
_BEGIN = 0.5  # seconds that are not measured: until what each process starts for itself is there


def main(
    peer: str, path: str, max_bytes: int, keys: int, value_bytes: int, requests: int, seconds: float
) -> None:
    """Use the cache, and print what was found as JSON: seconds, hits, requests, cpu; medians in µs."""
    (candidate,) = (each for each in CANDIDATES if each.name == peer)
    store = candidate.open(Path(path), max_bytes)
    assert isinstance(store, Calls)
    asking = _Asking(store, keys, value_bytes)
    print("ready", flush=True)
    sys.stdin.readline()
    asking.go_on(0, _BEGIN)
    asking.forget()
    spent, begun = seconds_of(os.getpid()), perf_counter()
    asking.go_on(requests, seconds)
    found = {"seconds": perf_counter() - begun, "cpu": seconds_of(os.getpid()) - spent}
    store.close()
    medians = {name: percentile(sorted(times), 0.5) for name, times in asking.times.items()}
    hits = len(asking.times["hit"])
    print(json.dumps({**found, "hits": hits, "requests": hits + len(asking.times["miss"]), **medians}))


class _Asking:
    """What is asked for, and how long it took: nanoseconds, by what came of it."""

    def __init__(self, store: Calls, keys: int, value_bytes: int) -> None:
        self._store = store
        self._value = os.urandom(value_bytes)
        self._keys = keys_of(keys)
        # Those that are asked for often are the same for all, and are not those that were put together.
        random.Random(keys).shuffle(self._keys)
        self._weights = list(accumulate(1 / rank**_SKEW for rank in range(1, keys + 1)))
        self.forget()

    def forget(self) -> None:
        self.times = {name: array("Q") for name in ("hit", "miss", "put")}

    def go_on(self, requests: int, seconds: float) -> None:
        get, put, value = self._store.get_one, self._store.put_one, self._value
        hit, miss, putting = (times.append for times in self.times.values())
        left, stop = requests, perf_counter() + seconds
        while left > 0 or perf_counter() < stop:
            left -= _AT_ONCE
            for key in random.choices(self._keys, cum_weights=self._weights, k=_AT_ONCE):
                begun = perf_counter_ns()
                there = get(key) is not None
                ended = perf_counter_ns()
                if there:
                    hit(ended - begun)
                else:
                    miss(ended - begun)
                    put(key, value)
                    putting(perf_counter_ns() - ended)


if __name__ == "__main__":
    _peer, _path, _max_bytes, _keys, _value_bytes, _requests, _seconds = sys.argv[1:]
    main(_peer, _path, int(_max_bytes), int(_keys), int(_value_bytes), int(_requests), float(_seconds))
