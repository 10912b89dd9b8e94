"""`python -m benchmarks engine`: the engine beside LMDB, RocksDB, LevelDB and diskcache."""

from __future__ import annotations

from benchmarks.contest import Contest
from benchmarks.stores import CANDIDATES
from benchmarks.workload import random_bytes

CONTEST = Contest("engine", CANDIDATES, random_bytes, ("lmdb", "rocksdict", "plyvel", "diskcache"))
