"""`python -m benchmarks.compaction DIR`: compact a store, and print what that took, as JSON.

For a fresh process, in which nothing was opened before. It says "ready" once the store is open, and begins
when it is told a line, so that whoever started it can watch it at work.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import stratakv


def main(path: str) -> None:
    """Compact the store at `path`, and print one JSON object."""
    with stratakv.open(path, durability="os", maintenance="manual", create=False) as db:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = perf_counter()
        found = db.compact()
        seconds = perf_counter() - begun
    # In a compaction nothing is left behind, so what is written is what is left.
    print(json.dumps({"seconds": seconds, "records": found.records, "bytes": found.bytes_after}))


if __name__ == "__main__":
    main(sys.argv[1])
