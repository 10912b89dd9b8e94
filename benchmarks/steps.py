"""`python -m benchmarks steps`: what a get and a put are made of.

Each step is the calls that it cannot do without, and nothing else: timed by themselves, in a loop like that
of `timeit`, with the store's own arrays, over the same keys in the same order, so that they wait for memory
as in the store. The loop itself, timed empty, is taken off. What is left of the whole is Python between the
calls. Rounds take all steps and the whole in a random order, and put into a new store each. It is the time
of the processor that is measured.
"""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from xxhash import xxh3_64_intdigest

import stratakv
from benchmarks import report
from benchmarks.spread import Spread
from benchmarks.workload import random_bytes
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.commit import AHEAD_BYTES
from stratakv.control import COMMIT_STATE, W_GENERATION, read_commit_state
from stratakv.index import FINGERPRINT, hash_key
from stratakv.record import COMMIT, HEADER_BYTES, PREFIX_BYTES, PUT, pack_body, pack_prefix, unpack_fields
from stratakv.view import View

_EMPTY, _WHOLE = "empty", "the whole"
_FIRST = 2000  # puts before those that are timed: who has written alone so often has the lock by a word
_GET = {
    "is the view that of now": "words[W_GENERATION] != view.generation",
    "hash": "hash_key(key)",
    "Bloom filters": "for bloom, count in filters: bloom[first % count] & PATTERNS[second & PATTERN_MASK]",
    "slot": "slots[first % size] ^ (first & FINGERPRINT)",
    "fields of the record": "unpack_fields(view_of_log, offset)",
    "key": "log[start:middle] == key",
    "checksum": "xxh3_64_intdigest(view_of_log[covered:end])",
    "value": "log[middle:end]",
}
_PUT = {
    "encode": 'b"".join((pack_body(len(value), len(key), KIND, 0, 0), key, value))',
    "hash": "hash_key(key)",
    "checksum": "xxh3_64_intdigest(body)",
    "lock of the threads": "acquire(False); release()",
    "lock of the processes": "scratch[7] = 1; scratch[7] = 0",
    "words of CONTROL, read": "read_commit_state(page, COMMIT_STATE)",
    "words of CONTROL, written": "; ".join(f"scratch[{word}] = offset" for word in range(7)),
    "zeros ahead": "for zero in ahead: pwrite(fresh, ZEROS, zero)",
    "record": ("written[at:behind] = pack_prefix(offset, 0); written[behind : behind + len(body)] = body"),
    "slot": "slots[first % size]; table[first % size] = first & FINGERPRINT | offset",
    "Bloom filter": "bits[first % words_of_bits] |= PATTERNS[second & PATTERN_MASK]",
}


# What the statements call and what is constant in them.
_NAMES = {
    "FINGERPRINT": FINGERPRINT,
    "W_GENERATION": W_GENERATION,
    "PATTERNS": PATTERNS,
    "PATTERN_MASK": PATTERN_MASK,
    "COMMIT_STATE": COMMIT_STATE,
    "KIND": PUT | COMMIT,
    "ZEROS": bytes(AHEAD_BYTES),
    "hash_key": hash_key,
    "unpack_fields": unpack_fields,
    "xxh3_64_intdigest": xxh3_64_intdigest,
    "pack_body": pack_body,
    "pack_prefix": pack_prefix,
    "read_commit_state": read_commit_state,
    "pwrite": os.pwrite,
}


@dataclass(frozen=True, slots=True)
class Step:
    """Nanoseconds of one operation, over the rounds; share: of the whole, of the medians."""

    operation: str
    step: str
    nanoseconds: Spread
    share: float


@dataclass(frozen=True, slots=True)
class StepsReport(report.Report):
    """What one run found out."""

    steps: Sequence[Step]

    def table(self) -> Table:
        """Return a row for each step of each operation."""
        table = report.titled_table(self.benchmark, self.parameters, self.machine)
        table.add_column("operation")
        table.add_column("step")
        for heading in ("ns", "quartiles", "share"):
            table.add_column(heading, justify="right")
        before = ""
        for step in self.steps:
            if step.operation != before:
                table.add_section()
            before = step.operation
            spread = step.nanoseconds
            table.add_row(
                step.operation,
                step.step,
                f"{spread.median:,.0f}",
                f"{spread.lower:,.0f}-{spread.upper:,.0f}",
                f"{step.share:.0%}",
            )
        return table


def run(
    place: Path, keys: int, value_bytes: int, rounds: int, progress: Callable[[str], None]
) -> StepsReport:
    """Take a get and a put of `keys` keys apart, in stores below `place`."""
    items = random_bytes(keys, value_bytes, 1).items
    progress("get")
    steps = [*_get(place / "read", items, rounds)]
    progress("put")
    steps += _put(place, items, rounds)
    parameters = {
        "keys": keys,
        "key_bytes": len(items[0][0]),
        "value_bytes": value_bytes,
        "rounds": rounds,
    }
    return StepsReport("steps", parameters, report.machine("stratakv", "mmh3", "xxhash"), steps)


# -- get -------------------------------------------------------------------------------------------------


def _get(path: Path, items: Sequence[tuple[bytes, bytes]], rounds: int) -> Iterator[Step]:
    with stratakv.open(path, durability="os", maintenance="manual") as db:
        for key, value in items:
            db.put(key, value)
        view = db._store.structure.current()
        given = {
            "prepared": [_found(view, key) for key, _ in random.sample(items, len(items))],
            "words": db._store.control.words,
            "view": view,
            "get": db.get,
        }
        names = (
            "key, first, second, filters, slots, size, view_of_log, log, offset, start, middle, end, covered"
        )
        yield from _split("get", names, {**_GET, _WHOLE: "get(key)"}, given, rounds)


def _found(view: View, key: bytes) -> tuple[Any, ...]:
    """Return what the steps of a get of `key` work on, once those before have been done."""
    first, second = hash_key(key)
    filters = []
    for bloom, count, segment in view.rows:
        filters.append((bloom, count))
        for number in range(segment.slot_count):
            place = (first + number) % segment.slot_count
            slot = segment.slots[place]
            if not slot:
                break
            if slot & FINGERPRINT == first & FINGERPRINT:
                offset = slot ^ first & FINGERPRINT
                _, value_bytes, key_bytes, _ = unpack_fields(segment.view, offset)
                start = offset + HEADER_BYTES
                middle = start + key_bytes
                if segment.log[start:middle] == key:
                    arrays = (filters, segment.slots, segment.slot_count, segment.view, segment.log)
                    places = (offset, start, middle, middle + value_bytes, offset + PREFIX_BYTES)
                    return (key, first, second, *arrays, *places)
    raise LookupError(key)


# -- put -------------------------------------------------------------------------------------------------


def _put(place: Path, items: Sequence[tuple[bytes, bytes]], rounds: int) -> Iterator[Step]:
    prepared, size = _to_write(items)
    turn = threading.Lock()
    given: dict[str, Any] = {"prepared": prepared, "acquire": turn.acquire, "release": turn.release}
    with ExitStack() as stack:
        fresh = stack.enter_context((place / "log").open("w+b"))
        fresh.write(bytes(size + AHEAD_BYTES))
        fresh.flush()
        given["fresh"], given["written"] = fresh.fileno(), mmap.mmap(fresh.fileno(), size)

        def renew(number: int) -> None:
            db = stack.enter_context(
                stratakv.open(place / f"{number}", durability="os", maintenance="manual")
            )
            for _ in range(_FIRST):
                db.put(b"first", b"")
            active = db._store.structure.current().active
            given["put"], given["page"] = db.put, db._store.control.page
            given["slots"], given["size"] = active.slots, active.slot_count
            # Stores into the real ones would break the store.
            given["scratch"] = memoryview(bytearray(64)).cast("Q")
            given["table"] = memoryview(bytearray(8 * active.slot_count)).cast("Q")
            given["bits"] = memoryview(bytearray(8 * active.word_count)).cast("Q")
            given["words_of_bits"] = active.word_count

        names = "key, value, first, second, body, offset, at, behind, ahead"
        yield from _split("put", names, {**_PUT, _WHOLE: "put(key, value)"}, given, rounds, renew)


def _to_write(items: Sequence[tuple[bytes, bytes]]) -> tuple[list[tuple[Any, ...]], int]:
    """Return what the steps of the puts work on, and how many bytes of log they take."""
    at, reached = 0, 0
    prepared = []
    for key, value in items:
        first, second = hash_key(key)
        body = b"".join((pack_body(len(value), len(key), PUT | COMMIT, 0, 0), key, value))
        ahead = []
        end = at + PREFIX_BYTES + len(body)
        while reached < end <= reached + AHEAD_BYTES:
            ahead.append(reached)
            reached += AHEAD_BYTES
        prepared.append((key, value, first, second, body, at + 1, at, at + PREFIX_BYTES, ahead))
        at, reached = end, max(reached, end)
    return prepared, at


# -- the clock -------------------------------------------------------------------------------------------


def _split(
    operation: str,
    names: str,
    statements: Mapping[str, str],
    given: dict[str, Any],
    rounds: int,
    renew: Callable[[int], None] = lambda number: None,
) -> Iterator[Step]:
    """Yield the steps of an operation, their sum, and what of the whole is between them.

    names: of what each of `given["prepared"]` holds. renew: called before each round, with its number.
    """
    given |= _NAMES
    clocks = {
        name: timeit.Timer(
            f"for {names} in prepared:\n    {statement}", timer=time.thread_time, globals=given
        )
        for name, statement in {**statements, _EMPTY: "pass"}.items()
    }
    each = 1e9 / len(given["prepared"])
    times: dict[str, list[float]] = {name: [] for name in clocks}
    for number in range(rounds):
        renew(number)
        for name in random.sample(list(clocks), len(clocks)):
            times[name].append(clocks[name].timeit(1) * each)
    empty = times.pop(_EMPTY)
    net = {name: [a - b for a, b in zip(taken, empty, strict=True)] for name, taken in times.items()}
    whole = net.pop(_WHOLE)
    net["all these calls"] = [sum(taken) for taken in zip(*net.values(), strict=True)]
    net["Python between them"] = [a - b for a, b in zip(whole, net["all these calls"], strict=True)]
    net[_WHOLE] = whole
    total = Spread.of(whole).median
    for name, taken in net.items():
        spread = Spread.of(taken)
        yield Step(operation, name, spread, spread.median / total)
