"""`python -m benchmarks.reopening DIR HOW KEY`: bring a store back, read one key, and print what that took.

HOW is "open"; "reboot", in which the machine says that it has been started anew since; or a mode of
`stratakv.recover`, which comes before the store is opened. For a fresh process, in which nothing was opened.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter_ns

import stratakv
from stratakv.files import Files


def main(path: str, how: str, key: str) -> None:
    """Bring the store at `path` back, and print one JSON object."""
    if how == "reboot":
        boot = Files().boot_id()
        Files.boot_id = lambda self: boot ^ 1  # type: ignore[method-assign]
    begun = perf_counter_ns()
    if how not in ("open", "reboot"):
        stratakv.recover(path, how)
    recovered = perf_counter_ns()
    with stratakv.open(path, durability="os", maintenance="manual") as db:
        value = db.get(key.encode())
        ended = perf_counter_ns()
    if value is None:
        sys.exit("the key is not there")
    print(json.dumps({"recover_ms": (recovered - begun) / 1e6, "open_ms": (ended - recovered) / 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
