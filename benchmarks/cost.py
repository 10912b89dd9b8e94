"""What a peer costs besides time: `python -m benchmarks.cost BENCHMARK PEER DIR KEYS VALUE_BYTES`.

One peer does all the work of a comparison alone, in a fresh process. All that it starts counts as well: its
threads, its server, its maintenance, those that have ended included.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.children import Child
from benchmarks.rounds import warm

CONTESTS = {"engine": "benchmarks.engine", "django": "benchmarks.django_cache"}
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_ROUNDS = 2
_MEMORY_AFTER = "get"  # when everything is there, and has been read


@dataclass(frozen=True, slots=True)
class Cost:
    """What one peer needed. MB are 10⁶ bytes.

    cpu_us: processor time of one operation in µs, user and system. cpu_seconds: of all of them, open and
    close included. written_mb: what it gave the kernel to write to the disk (write_bytes of /proc/PID/io,
    counted when a page of a file is first changed). private_mb: growth of its private memory once everything
    was put and read. anonymous_mb: the part that is not the kernel's cache of a file.
    """

    peer: str
    keys: int
    cpu_us: dict[str, float]
    cpu_seconds: float
    written_mb: float
    private_mb: float
    anonymous_mb: float


def of(benchmark: str, peer: str, directory: Path, keys: int, value_bytes: int) -> Cost:
    """Return what `peer` costs in a new store below `directory`."""
    with (
        TemporaryDirectory(dir=directory) as place,
        Child("cost", benchmark, peer, place, keys, value_bytes) as child,
    ):
        child.begin()
        found: dict[str, Any] = child.result()
    return Cost(peer, **found)


def main(benchmark: str, name: str, place: str, keys: int, value_bytes: int) -> None:
    """Do the work, and print one JSON object."""
    contest = import_module(CONTESTS[benchmark]).CONTEST
    (candidate,) = (each for each in contest.candidates if each.name == name)
    workload = contest.work(keys, value_bytes, _ROUNDS).thinned(candidate.slowness)
    operations = workload.operations()
    candidate.open(Path(place) / "first", 0).close()  # for nothing: what it imports is not what it costs
    _memory()  # and this as well, since reading takes some memory itself
    print("ready", flush=True)
    sys.stdin.readline()
    myself = os.getpid()
    memory, spent = _memory(), _spent(myself)
    peer = candidate.open(Path(place) / name, workload.payload_bytes())
    cpu_us = {}
    for operation, rounds in operations.items():
        warm(name, peer, rounds)
        begun = seconds_of(myself)
        for each in rounds:
            each.run(name, peer)
        cpu_us[operation] = (seconds_of(myself) - begun) * 1e6 / sum(len(each.work) for each in rounds)
        if operation == _MEMORY_AFTER:
            grown = [now - then for now, then in zip(_memory(), memory, strict=True)]
    peer.close()
    cpu_seconds, written = (now - then for now, then in zip(_spent(myself), spent, strict=True))
    found = {
        "keys": len(workload.items),
        "cpu_us": cpu_us,
        "cpu_seconds": cpu_seconds,
        "written_mb": written / 1e6,
        "private_mb": grown[0] / 1e6,
        "anonymous_mb": grown[1] / 1e6,
    }
    print(json.dumps(found))


def seconds_of(process: int) -> float:
    """Return the seconds of processor that a process and all that it started have taken so far."""
    return _spent(process)[0]


def _family(process: int) -> Iterator[Path]:
    """Yield /proc/PID of a process and of all that descend from it and still run."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                parents[int(path.name)] = int(_fields(path)[1])
            except OSError:
                continue
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    yield from (Path(f"/proc/{each}") for each in family)


def _fields(path: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: a name before them may have spaces."""
    return (path / "stat").read_text().rpartition(")")[2].split()


def _spent(process: int) -> tuple[float, int]:
    """Return the seconds of processor and the bytes written so far, by those who have ended, too."""
    seconds, written = 0.0, 0
    for path in _family(process):
        try:
            seconds += sum(map(int, _fields(path)[11:15])) / _TICKS
            written += int((path / "io").read_text().partition("\nwrite_bytes: ")[2].split()[0])
        except OSError:  # it has ended and will be found with its parent
            continue
    return seconds, written


def _memory() -> tuple[int, int]:
    """Return the private memory of all of them in bytes, and the part of it that is no file's."""
    found = {"Private_Clean": 0, "Private_Dirty": 0, "Anonymous": 0}
    for path in _family(os.getpid()):
        try:
            lines = (path / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for name, _, rest in (line.partition(":") for line in lines):
            if name in found:
                found[name] += int(rest.split()[0]) * 1024
    return found["Private_Clean"] + found["Private_Dirty"], found["Anonymous"]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
