"""`python -m benchmarks seed`: the workload that StrataKV was first measured with.

Inserts, then overwrites of the first quarter of the keys, then deletes of random keys, which may have been
deleted before; then gets of keys that are there and of keys that never were, a compaction in a process of its
own while gets go on, and the same gets again. At last the store is opened by fresh processes: after it was
closed, and after a process that wrote to it was killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from time import perf_counter, perf_counter_ns

from rich.table import Table

import stratakv
from benchmarks import meanwhile, report
from benchmarks.meanwhile import SLOW_MS, Meanwhile
from benchmarks.published import PUBLISHED
from benchmarks.rounds import WrongAnswerError
from benchmarks.spread import Spread
from benchmarks.workload import KEY_BYTES, random_key
from stratakv.record import HEADER_BYTES

_ROOT = Path(__file__).parents[1]
_VALUE_BYTES = 8192
_QUARTER = 4  # of the keys are overwritten
_OVERWRITES, _DELETES = 4, 1.6  # for each insert
_GETS = 1000


@dataclass(frozen=True, slots=True)
class Gets:
    """Single gets, in microseconds."""

    mean: float
    p50: float
    worst: float


@dataclass(frozen=True, slots=True)
class State:
    """The store before or after the compaction. disk_bytes: as `du` counts.

    write_amplification: bytes of log written so far, by whomever, and of the indexes there are, for each byte
    of key or value that was put. disk_ratio: disk_bytes divided by the bytes of what is alive. hit, miss: of
    keys that are there, and of keys that never were.
    """

    name: str
    segments: int
    disk_bytes: int
    disk_ratio: float
    write_amplification: float
    hit: Gets
    miss: Gets


@dataclass(frozen=True, slots=True)
class SeedReport(report.Report):
    """What one run found out.

    microseconds: of each kind of write. whole_seconds: of all that was done to the store, reopening left out.
    reopening: milliseconds until one key was read in a fresh process, by what had happened before.
    resident_bytes: of the process that did all this, at its end; own_bytes: of these, what is not the
    kernel's cache of files.
    """

    settings: dict[str, str]
    microseconds: dict[str, float]
    live_bytes: int
    states: Sequence[State]
    maintain_seconds: float
    whole_seconds: float
    compaction: Meanwhile
    reopening: dict[str, Spread]
    resident_bytes: int
    own_bytes: int

    def table(self) -> Table:
        """Return a row for each figure."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.machine)
        table.add_column("")
        for state in self.states:
            table.add_column(state.name, justify="right")
        for name, microseconds in self.microseconds.items():
            table.add_row(f"{name}, µs", f"{microseconds:.1f}", "")
        table.add_section()
        for label, cell in _ROWS.items():
            table.add_row(label, *map(cell, self.states))
        table.add_section()
        for label, figure in self._single_figures():
            table.add_row(label, "", figure)
        return table

    def _single_figures(self) -> Iterable[tuple[str, str]]:
        compaction = self.compaction
        yield "maintenance after the writes, s", f"{self.maintain_seconds:.2f}"
        yield "compaction, s", f"{compaction.seconds:.2f}"
        yield "gets meanwhile", f"{compaction.gets:,}"
        yield "their p50, µs", f"{compaction.p50_us:.1f}"
        yield "their p99.9, µs", f"{compaction.p999_us:.1f}"
        yield "the slowest, µs", f"{compaction.worst_us:,.0f}"
        yield f"slower than {SLOW_MS:g} ms", f"{compaction.slow}"
        yield "of these, another program had the processor", f"{compaction.interrupted}"
        yield "the slowest of the others, µs", f"{compaction.worst_uninterrupted_us:,.0f}"
        for name, spread in self.reopening.items():
            yield f"open and get, {name}, ms", "{} ({})".format(*report.cells(spread))
        yield "resident, MB", f"{self.resident_bytes / 1e6:,.0f}"
        yield "of it not the kernel's cache, MB", f"{self.own_bytes / 1e6:,.0f}"

    def tables(self) -> Iterable[Table]:
        """Return the figures, and those of them that others have published, beside theirs."""
        beside = report.plain_table()
        beside.add_column("")
        beside.add_column("StrataKV", justify="right")
        for name in PUBLISHED:
            beside.add_column(name, justify="right")
        for label, figure in self._comparable().items():
            beside.add_row(label, figure, *(theirs.get(label, "") for theirs in PUBLISHED.values()))
        return self.table(), beside

    def _comparable(self) -> dict[str, str]:
        before, after = self.states
        writes = self.microseconds
        return {
            "whole workload": f"{self.whole_seconds:,.1f} s",
            "put": f"{writes['insert']:.1f}-{writes['overwrite']:.1f} µs",
            "get of a key that is there, before": f"{before.hit.p50:.1f} µs",
            "get of a key that is there, after": f"{after.hit.p50:.1f} µs",
            "get of a key that is not, before": f"{before.miss.p50:.1f} µs",
            "get of a key that is not, after": f"{after.miss.p50:.1f} µs",
            "segments, before": f"{before.segments:,}",
            "segments, after": f"{after.segments:,}",
            "disk, before": f"{before.disk_bytes / 1e6:,.1f} MB",
            "disk, after": f"{after.disk_bytes / 1e6:,.1f} MB",
            "compaction": f"{self.compaction.seconds:.2f} s",
            "reopening": f"{self.reopening['closed'].median:.1f} ms",
            "resident": f"{self.resident_bytes / 1e6:,.0f} MB",
        }


_ROWS: dict[str, Callable[[State], str]] = {
    "segments": lambda state: f"{state.segments}",
    "disk, MB": lambda state: f"{state.disk_bytes / 1e6:,.1f}",
    "disk / live bytes": lambda state: f"{state.disk_ratio:.4f}",
    "write amplification": lambda state: f"{state.write_amplification:.3f}",
    "get, mean, µs": lambda state: f"{state.hit.mean:.1f}",
    "get, p50, µs": lambda state: f"{state.hit.p50:.1f}",
    "get, the slowest, µs": lambda state: f"{state.hit.worst:,.0f}",
    "miss, mean, µs": lambda state: f"{state.miss.mean:.1f}",
    "miss, p50, µs": lambda state: f"{state.miss.p50:.1f}",
    "miss, the slowest, µs": lambda state: f"{state.miss.worst:,.0f}",
}


class _Store:
    """The store under test, and what is known of its content."""

    def __init__(self, db: stratakv.DB, keys: int) -> None:
        self.db = db
        self.keys = [random_key() for _ in range(keys)]
        self.alive: dict[bytes, bytes] = {}  # key to the first bytes of its value
        self.put_bytes = 0
        self._pool = os.urandom(2**20)  # values are parts of it: making one anew takes as long as putting it

    def put(self, key: bytes) -> None:
        start = random.randrange(len(self._pool) - _VALUE_BYTES)
        value = self._pool[start : start + _VALUE_BYTES]
        self.db.put(key, value)
        self.alive[key] = value[:8]
        self.put_bytes += len(key) + len(value)

    def delete(self, key: bytes) -> None:
        if self.db.delete(key) != (self.alive.pop(key, None) is not None):
            raise WrongAnswerError(f"deleting {key!r} did not do what it should")

    def check(self, key: bytes, value: bytes | None) -> None:
        if (value and value[:8]) != self.alive.get(key):
            raise WrongAnswerError(f"{key!r} has a wrong value")

    def live_bytes(self) -> int:
        return len(self.alive) * (KEY_BYTES + _VALUE_BYTES)


def run(
    place: Path, keys: int, durability: str, log_bytes: int, rounds: int, progress: Callable[[str], None]
) -> SeedReport:
    """Run the workload on a store below `place`, and then open it as often as there are `rounds`."""
    path = place / "store"
    with stratakv.open(path, durability=durability, segment_bytes=log_bytes) as db:
        begun = perf_counter()
        store = _Store(db, keys)
        microseconds = _write(store, progress)
        progress("maintenance")
        maintain_seconds = _seconds(db.maintain)
        states = [_state("before compaction", store)]
        progress("compact")
        compaction = meanwhile.compact(db, path, list(store.alive), store.check)
        states.append(_state("after", store))
        whole_seconds = perf_counter() - begun
        resident_bytes, own_bytes = _resident()
        progress("check")
        for key in store.keys:
            store.check(key, db.get(key))
    progress("reopen")
    return SeedReport(
        benchmark="seed",
        parameters={
            "inserts": keys,
            "overwrites": _OVERWRITES * keys,
            "deletes": int(_DELETES * keys),
            "value_bytes": _VALUE_BYTES,
            "log_bytes": log_bytes,
            "rounds": rounds,
        },
        machine=report.machine("stratakv"),
        settings={"StrataKV": f'durability="{durability}", maintenance="auto"'},
        microseconds=microseconds,
        live_bytes=store.live_bytes(),
        states=states,
        maintain_seconds=maintain_seconds,
        whole_seconds=whole_seconds,
        compaction=compaction,
        reopening=_reopened(path, next(iter(store.alive)), log_bytes, rounds),
        resident_bytes=resident_bytes,
        own_bytes=own_bytes,
    )


def _reopened(path: Path, key: bytes, log_bytes: int, rounds: int) -> dict[str, Spread]:
    """Open the store in fresh processes; after a kill, too, of one that had a log half full, or full.

    A log that is full has room for one record more, or for the few short ones by which it is killed again.
    """
    puts = log_bytes // (HEADER_BYTES + KEY_BYTES + _VALUE_BYTES) - 1
    found = {"closed": Spread.of([_open_ms(path, key) for _ in range(rounds)])}
    done = 0
    for name, target in {"killed, log half full": puts // 2, "killed, log full": puts}.items():
        _kill(path, done, target - done, _VALUE_BYTES, log_bytes)
        done = target
        times = [_open_ms(path, key)]
        for number in range(1, rounds):
            _kill(path, -number, 1, 1, log_bytes)
            times.append(_open_ms(path, key))
        found[name] = Spread.of(times)
    return found


def _open_ms(path: Path, key: bytes) -> float:
    command = [sys.executable, "-m", "benchmarks.reopening", str(path), "open", key.decode()]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["open_ms"])


def _kill(path: Path, first: int, puts: int, value_bytes: int, log_bytes: int) -> None:
    arguments = (path, first, puts, value_bytes, log_bytes, "between")
    command = [sys.executable, "-m", "benchmarks.killed", *map(str, arguments)]
    status = subprocess.run(command, cwd=_ROOT, check=False).returncode
    if status != -SIGKILL:
        raise RuntimeError(f"a writer that was to be killed ended with status {status}")


def _resident() -> tuple[int, int]:
    """Return the resident memory of this process in bytes: all of it, and what is not mapped from files."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["RssAnon"]


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
        hit=_get(store, present),
        miss=_get(store, [random_key() for _ in range(_GETS)]),
    )


def _get(store: _Store, keys: Sequence[bytes]) -> Gets:
    get, times = store.db.get, []
    for key in keys:
        begun = perf_counter_ns()
        value = get(key)
        times.append((perf_counter_ns() - begun) / 1000)
        store.check(key, value)
    return Gets(sum(times) / len(times), sorted(times)[len(times) // 2], max(times))


def _seconds(action: Callable[[], object]) -> float:
    begun = perf_counter()
    action()
    return perf_counter() - begun
