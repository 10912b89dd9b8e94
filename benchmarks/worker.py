"""`python -m benchmarks.worker PEER PATH KEYS VALUE_BYTES GETS SECONDS TIMES`: one of many that use a store.

GETS in a hundred operations are gets of random keys, the others put new values under such. It begins when
it is told a line, as all of them are. One operation in sixteen is timed by itself; the nanoseconds of gets go
to the file TIMES.get, those of puts to TIMES.put.
"""

from __future__ import annotations

import json
import os
import random
import sys
from array import array
from collections.abc import Sequence
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from time import perf_counter_ns

from benchmarks.peers import Calls
from benchmarks.rounds import WrongAnswerError
from benchmarks.sharing import CANDIDATES
from benchmarks.workload import KEY_BYTES

OPERATIONS = ("get", "put")
_CHOICES = 2**15  # drawn beforehand, and done again and again
# One operation in so many is timed. To look at the clock before and after each, and keep what it said, takes
# 0.3 µs, a tenth of what the fastest peer needs for one: less would be seen of what it does.
_PIECE = 16
_PERCENT = 100
_VALUES = 64
_WARMING = 10**9  # nanoseconds

_Choice = tuple[bytes, bytes | None]  # a key, and the value that is put under it; None: it is got


def keys_of(count: int) -> list[bytes]:
    """Return the keys of the store."""
    return [sha256(b"%d" % number).hexdigest().encode() for number in range(count)]


def payload_bytes(keys: int, value_bytes: int) -> int:
    """Return the bytes of all keys and values."""
    return keys * (KEY_BYTES + value_bytes)


def main(peer: str, path: str, keys: int, value_bytes: int, gets: int, seconds: float, times: str) -> None:
    """Use the store for some seconds, and until both were timed; print what was done as JSON."""
    present = keys_of(keys)
    (candidate,) = (each for each in CANDIDATES if each.name == peer)
    store = candidate.open(Path(path), payload_bytes(keys, value_bytes))
    assert isinstance(store, Calls)
    values = [os.urandom(value_bytes) for _ in range(_VALUES)]
    chosen = [
        (key, None if random.randrange(_PERCENT) < gets else random.choice(values))
        for key in random.choices(present, k=_CHOICES)
    ]
    _warm(store, random.sample(present, keys))
    print("ready", flush=True)
    sys.stdin.readline()
    _use(store, chosen, seconds, times)
    store.close()


def _warm(store: Calls, keys: Sequence[bytes]) -> None:
    """Read them, as far as that goes in a short time: maps and connections are each process's own."""
    stop = perf_counter_ns() + _WARMING
    for key in keys:
        store.get_one(key)
        if perf_counter_ns() > stop:
            return


def _use(store: Calls, chosen: Sequence[_Choice], seconds: float, times: str) -> None:
    get, put = store.get_one, store.put_one
    get_times, put_times = array("Q"), array("Q")
    begun = perf_counter_ns()
    stop = begun + int(seconds * 1e9)
    for (key, value), others in cycle(_pieces(chosen)):
        before = perf_counter_ns()
        if before > stop and get_times and put_times:
            break
        if value is None:
            found = get(key)
            get_times.append(perf_counter_ns() - before)
            if found is None:
                raise _missing(key)
        else:
            put(key, value)
            put_times.append(perf_counter_ns() - before)
        for key, value in others:
            if value is not None:
                put(key, value)
            elif get(key) is None:
                raise _missing(key)
    for operation, done in zip(OPERATIONS, (get_times, put_times), strict=True):
        Path(f"{times}.{operation}").write_bytes(done.tobytes())
    operations = _PIECE * (len(get_times) + len(put_times))
    print(json.dumps({"operations": operations, "seconds": (before - begun) / 1e9}))


def _pieces(chosen: Sequence[_Choice]) -> list[tuple[_Choice, Sequence[_Choice]]]:
    """Return them in pieces: the operation that is timed, and the others."""
    return [(chosen[at], chosen[at + 1 : at + _PIECE]) for at in range(0, len(chosen), _PIECE)]


def _missing(key: bytes) -> WrongAnswerError:
    return WrongAnswerError(f"{key!r} is not there")


if __name__ == "__main__":
    _peer, _path, _keys, _value_bytes, _gets, _seconds, _times = sys.argv[1:]
    main(_peer, _path, int(_keys), int(_value_bytes), int(_gets), float(_seconds), _times)
