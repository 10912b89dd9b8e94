"""`python -m benchmarks.overwriting DIR MAX_BYTES MAINTENANCE KEYS SECONDS`: overwrite random keys.

One of several processes that write to the same store at once. It says "ready" once the store is open, begins
when it is told a line, as all of them are, and prints what it has done as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
from hashlib import sha256
from time import monotonic

import stratakv

LEAST_VALUE_BYTES, MOST_VALUE_BYTES = 1024, 8192
_POOL = os.urandom(2**20)


def main(path: str, max_bytes: int, maintenance: str, keys: int, seconds: float) -> None:
    """Put values of random sizes under `keys` random keys for some seconds."""
    with stratakv.open(path, durability="os", max_bytes=max_bytes, maintenance=maintenance) as db:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = monotonic()
        puts = put_bytes = 0
        while (taken := monotonic() - begun) < seconds:
            key = sha256(b"%d" % random.randrange(keys)).hexdigest().encode()
            size = random.randint(LEAST_VALUE_BYTES, MOST_VALUE_BYTES)
            start = random.randrange(len(_POOL) - size)
            db.put(key, _POOL[start : start + size])
            puts += 1
            put_bytes += len(key) + size
    print(json.dumps({"puts": puts, "bytes": put_bytes, "seconds": taken}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
