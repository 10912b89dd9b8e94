"""`python -m benchmarks.probe DIR KEY...`: open a store, read some keys, and print what that took, as JSON.

For a fresh process, in which nothing was opened before. Private memory is what would become free if the
process ended: pages that no other process maps, Linux's Private_Clean and Private_Dirty together. Clean
ones are the kernel's cache of the store's files, which it may drop at any time; they count as private while
nobody else has the store open.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter_ns

import stratakv


def private_bytes(process: int | str = "self") -> tuple[int, int]:
    """Return the private memory of a process, in bytes: the clean and the dirty."""
    found = {"Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    return found["Private_Clean"], found["Private_Dirty"]


def main(path: str, *keys: str) -> None:
    """Open the store at `path`, get each of `keys`, and print one JSON object.

    private_mb: after the first get. dirty_mb: after the last.
    """
    private_bytes()  # once for nothing: reading takes some memory itself
    clean_before, dirty_before = private_bytes()
    begun = perf_counter_ns()
    db = stratakv.open(path, durability="os", create=False)
    opened = perf_counter_ns()
    value = db.get(keys[0].encode())
    ended = perf_counter_ns()
    clean, dirty = private_bytes()
    there = [value is not None, *(db.get(key.encode()) is not None for key in keys[1:])]
    _, dirty_after = private_bytes()
    db.close()
    if not all(there):
        sys.exit("a key is not there")
    print(
        json.dumps(
            {
                "open_ms": (opened - begun) / 1e6,
                "first_get_ms": (ended - opened) / 1e6,
                "private_mb": (clean + dirty - clean_before - dirty_before) / 1e6,
                "dirty_mb": (dirty_after - dirty_before) / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
