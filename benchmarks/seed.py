"""`python -m benchmarks seed`: the workload that StrataKV was first measured with.

Inserts, then overwrites of the first quarter of the keys, then deletes of random keys, which may have been
deleted before; then gets of keys that are there and of keys that never were, a compaction, and the same gets
again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.table import Table

import stratakv
from benchmarks import report
from benchmarks.rounds import WrongAnswerError
from benchmarks.workload import KEY_BYTES

_VALUE_BYTES = 8192
_QUARTER = 4  # of the keys are overwritten
_OVERWRITES, _DELETES = 4, 1.6  # for each insert
_GETS = 1000


@dataclass(frozen=True, slots=True)
class State:
    """The store before or after the compaction. disk_bytes: as `du` counts. Times are of one operation.

    write_amplification: bytes of log written so far, by whomever, and of the indexes there are, for each byte
    of key or value that was put. disk_ratio: disk_bytes divided by the bytes of what is alive.
    """

    name: str
    segments: int
    disk_bytes: int
    disk_ratio: float
    write_amplification: float
    get_us: float
    miss_us: float


@dataclass(frozen=True, slots=True)
class SeedReport(report.Report):
    """What one run found out. microseconds: of each kind of write."""

    settings: dict[str, str]
    microseconds: dict[str, float]
    live_bytes: int
    states: Sequence[State]
    maintain_seconds: float
    compact_seconds: float
    reopen_ms: float

    def table(self) -> Table:
        """Return a row for each figure."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("")
        for state in self.states:
            table.add_column(state.name, justify="right")
        for name, microseconds in self.microseconds.items():
            table.add_row(f"{name}, µs", f"{microseconds:.1f}")
        table.add_section()
        for label, cell in _ROWS.items():
            table.add_row(label, *map(cell, self.states))
        table.add_section()
        table.add_row("maintenance after the writes, s", f"{self.maintain_seconds:.2f}")
        table.add_row("compaction, s", "", f"{self.compact_seconds:.2f}")
        table.add_row("reopen and get, ms", "", f"{self.reopen_ms:.1f}")
        return table


_ROWS: dict[str, Callable[[State], str]] = {
    "segments": lambda state: f"{state.segments}",
    "disk, MB": lambda state: f"{state.disk_bytes / 1e6:,.1f}",
    "disk / live bytes": lambda state: f"{state.disk_ratio:.4f}",
    "write amplification": lambda state: f"{state.write_amplification:.3f}",
    "get, µs": lambda state: f"{state.get_us:.1f}",
    "miss, µs": lambda state: f"{state.miss_us:.1f}",
}


class _Store:
    """The store under test, and what is known of its content."""

    def __init__(self, db: stratakv.DB, keys: int) -> None:
        self.db = db
        self.keys = [_key() for _ in range(keys)]
        self.alive: dict[bytes, bytes] = {}  # key to the first bytes of its value
        self.put_bytes = 0

    def put(self, key: bytes) -> None:
        value = os.urandom(_VALUE_BYTES)
        self.db.put(key, value)
        self.alive[key] = value[:8]
        self.put_bytes += len(key) + len(value)

    def delete(self, key: bytes) -> None:
        if self.db.delete(key) != (self.alive.pop(key, None) is not None):
            raise WrongAnswerError(f"deleting {key!r} did not do what it should")

    def live_bytes(self) -> int:
        return len(self.alive) * (KEY_BYTES + _VALUE_BYTES)


def _key() -> bytes:
    return os.urandom(KEY_BYTES // 2).hex().encode()


def run(place: Path, keys: int, durability: str, progress: Callable[[str], None]) -> SeedReport:
    """Run the workload on a store below `place`."""
    path = place / "store"
    with stratakv.open(path, durability=durability) as db:
        store = _Store(db, keys)
        microseconds = _write(store, progress)
        progress("maintenance")
        maintain_seconds = _seconds(db.maintain)
        states = [_state("before compaction", store)]
        progress("compact")
        compact_seconds = _seconds(db.compact)
        states.append(_state("after", store))
    key = next(iter(store.alive))
    begun = perf_counter()
    with stratakv.open(path, durability=durability) as db:
        value = db.get(key)
        reopen_ms = (perf_counter() - begun) * 1e3
        _check(store, key, value)
        progress("check")
        for key in store.keys:
            _check(store, key, db.get(key))
    parameters = {"inserts": keys, "overwrites": _OVERWRITES * keys, "deletes": int(_DELETES * keys)}
    return SeedReport(
        benchmark="seed",
        parameters={**parameters, "value_bytes": _VALUE_BYTES},
        machine=report.machine("stratakv"),
        settings={"StrataKV": f'durability="{durability}", maintenance="auto"'},
        microseconds=microseconds,
        live_bytes=store.live_bytes(),
        states=states,
        maintain_seconds=maintain_seconds,
        compact_seconds=compact_seconds,
        reopen_ms=reopen_ms,
    )


def _write(store: _Store, progress: Callable[[str], None]) -> dict[str, float]:
    """Do all writes; return the microseconds that each kind took."""
    keys = store.keys
    quarter = keys[: max(1, len(keys) // _QUARTER)]
    work: dict[str, tuple[Callable[[bytes], None], Sequence[bytes]]] = {
        "insert": (store.put, keys),
        "overwrite": (store.put, random.choices(quarter, k=_OVERWRITES * len(keys))),
        "delete": (store.delete, random.choices(keys, k=int(_DELETES * len(keys)))),
    }
    found = {}
    for name, (write, chosen) in work.items():
        progress(name)
        begun = perf_counter()
        for key in chosen:
            write(key)
        found[name] = (perf_counter() - begun) * 1e6 / len(chosen)
    return found


def _state(name: str, store: _Store) -> State:
    present = random.choices(list(store.alive), k=_GETS)
    stats = store.db.stats()
    written = stats.bytes_written + stats.rewritten_bytes + sum(s.index_bytes for s in stats.segments)
    return State(
        name=name,
        segments=len(stats.segments),
        disk_bytes=stats.disk_bytes,
        disk_ratio=stats.disk_bytes / store.live_bytes(),
        write_amplification=written / store.put_bytes,
        get_us=_get(store, present),
        miss_us=_get(store, [_key() for _ in range(_GETS)]),
    )


def _get(store: _Store, keys: Sequence[bytes]) -> float:
    get = store.db.get
    begun = perf_counter()
    values = [get(key) for key in keys]
    taken = perf_counter() - begun
    for key, value in zip(keys, values, strict=True):
        _check(store, key, value)
    return taken * 1e6 / len(keys)


def _check(store: _Store, key: bytes, value: bytes | None) -> None:
    if (value and value[:8]) != store.alive.get(key):
        raise WrongAnswerError(f"{key!r} has a wrong value")


def _seconds(action: Callable[[], object]) -> float:
    begun = perf_counter()
    action()
    return perf_counter() - begun
