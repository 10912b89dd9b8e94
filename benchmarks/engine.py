"""`python -m benchmarks engine`: the engine beside LMDB and diskcache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import peers, report
from benchmarks.comparison import Comparison, compare
from benchmarks.workload import random_bytes

_MAP_SPARE_BYTES = 64 * 2**20
_PAGE_BYTES = 4096


def run(
    directory: Path, keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
) -> Comparison:
    """Compare the engine and its peers in stores below `directory`."""
    # The map must hold every page of LMDB's tree, which fills them half at worst.
    map_bytes = _MAP_SPARE_BYTES + 2 * keys * (value_bytes + _PAGE_BYTES)
    with ExitStack() as stack:
        racing = [
            stack.enter_context(closing(peer))
            for peer in (
                peers.strata(directory / "stratakv"),
                peers.LMDB(directory / "lmdb", map_bytes, writemap=False),
                peers.LMDB(directory / "lmdb-writemap", map_bytes, writemap=True),
                peers.disk_cache(directory / "diskcache"),
                peers.fastest_disk_cache(directory / "diskcache-fast"),
            )
        ]
        machine = report.machine("stratakv", "lmdb", "diskcache")
        return compare("engine", racing, random_bytes(keys, value_bytes, rounds), machine, progress)
