"""Eight processes on one store at random, one of them killed and replaced every second.

Each process owns some keys and numbers what it writes to them, so that any process can tell from a value
who wrote it and when. Memory shared by all says which number was begun and which was acknowledged.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import stratakv
from tests.support.children import Child

SECONDS = float(os.environ.get("STRATAKV_MANY_SECONDS", "30"))
PROCESSES = 8
SINGLES, BATCH, COUNTERS = 8, 4, 4  # 8 times (8 + 4), and 4: 100 keys
OPTIONS = {"durability": "os", "segment_bytes": 256 * 1024}

_HEAD = struct.Struct("<IIQI")


def single(owner: int, number: int) -> bytes:
    return b"single-%d-%d" % (owner, number)


def batch(owner: int) -> list[bytes]:
    return [b"batch-%d-%d" % (owner, number) for number in range(BATCH)]


def value_of(owner: int, place: int, version: int, chance: random.Random) -> bytes:
    body = chance.randbytes(chance.choice([0, 30, 500, 4000]))
    return _HEAD.pack(owner, place, version, zlib.crc32(body)) + body


def version_of(owner: int, place: int, value: bytes) -> int:
    """Return the version in a value; fails where the value was never written to this key."""
    found_owner, found_place, version, checksum = _HEAD.unpack_from(value)
    assert (found_owner, found_place) == (owner, place), "a value of another key"
    assert zlib.crc32(value[_HEAD.size :]) == checksum, "a torn value"
    return int(version)


class Ledger:
    """What was begun and what was acknowledged, in memory that outlives any of the processes."""

    def __init__(self) -> None:
        rows = PROCESSES * (SINGLES + 1) + PROCESSES
        words = memoryview(mmap.mmap(-1, rows * 16)).cast("Q")
        self.begun, self.acknowledged = words[:rows], words[rows:]

    @staticmethod
    def row(owner: int, place: int) -> int:
        return owner * (SINGLES + 1) + place

    @staticmethod
    def counter_row(owner: int) -> int:
        return PROCESSES * (SINGLES + 1) + owner


class Worker:
    """One process's random work. Even versions are values, odd ones are deletes."""

    def __init__(self, path: Path, owner: int, ledger: Ledger, seed: int) -> None:
        self.db = stratakv.open(path, **OPTIONS)
        self.owner = owner
        self.ledger = ledger
        self.chance = random.Random(seed)
        self.seen: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        self.check_own()
        for place in range(SINGLES):
            self.put(place)
        self.put_batch()
        actions = [
            self.put_any,
            self.delete_any,
            self.put_batch,
            self.count,
            self.read,
            self.read_batch,
            self.scan,
        ]
        weights = [20, 5, 5, 5, 40, 10, 0.2]
        while True:
            self.chance.choices(actions, weights)[0]()
            if self.owner == 0 and self.chance.random() < 0.0005:
                self.db.compact()

    def check_own(self) -> None:
        """Whatever our predecessor was told is there; what it had begun may be."""
        for place in range(SINGLES):
            row = Ledger.row(self.owner, place)
            low, high = self.ledger.acknowledged[row], self.ledger.begun[row]
            value = self.db.get(single(self.owner, place))
            if value is None:
                assert low % 2 == 1 or high % 2 == 1 or low == 0, f"version {low} of {place} was lost"
            else:
                assert low <= version_of(self.owner, place, value) <= high, (
                    f"version {low} of {place} was lost"
                )

    def put_any(self) -> None:
        self.put(self.chance.randrange(SINGLES))

    def put(self, place: int) -> None:
        row = Ledger.row(self.owner, place)
        version = self.ledger.begun[row] // 2 * 2 + 2
        self.ledger.begun[row] = version
        self.db.put(single(self.owner, place), value_of(self.owner, place, version, self.chance))
        self.ledger.acknowledged[row] = version

    def delete_any(self) -> None:
        place = self.chance.randrange(SINGLES)
        row = Ledger.row(self.owner, place)
        version = self.ledger.begun[row] // 2 * 2 + 1
        self.ledger.begun[row] = version
        self.db.delete(single(self.owner, place))
        self.ledger.acknowledged[row] = version

    def put_batch(self) -> None:
        row = Ledger.row(self.owner, SINGLES)
        version = self.ledger.begun[row] + 2
        self.ledger.begun[row] = version
        value = value_of(self.owner, SINGLES, version, self.chance)
        self.db.put_many(dict.fromkeys(batch(self.owner), value))
        self.ledger.acknowledged[row] = version

    def count(self) -> None:
        row = Ledger.counter_row(self.owner)
        self.ledger.begun[row] += 1
        self.db.incr(b"counter-%d" % self.chance.randrange(COUNTERS))
        self.ledger.acknowledged[row] += 1

    def read(self) -> None:
        owner, place = self.chance.randrange(PROCESSES), self.chance.randrange(SINGLES)
        row = Ledger.row(owner, place)
        low = self.ledger.acknowledged[row]
        value = self.db.get(single(owner, place))
        high = self.ledger.begun[row]
        if value is not None:
            version = version_of(owner, place, value)
            assert low - 1 <= version <= high, f"version {version} read, {low} to {high} possible"
            assert version >= self.seen.get((owner, place), 0), "an older version came back"
            self.seen[owner, place] = version

    def read_batch(self) -> None:
        owner = self.chance.randrange(PROCESSES)
        self.check_batch(owner, self.db.get_many(batch(owner)))

    def check_batch(self, owner: int, found: dict[bytes, bytes]) -> None:
        assert len(found) in (0, BATCH), "a batch was seen in part"
        versions = {version_of(owner, SINGLES, value) for value in found.values()}
        assert len(versions) <= 1, f"a torn batch: versions {versions}"

    def scan(self) -> None:
        found = dict(self.db.scan(prefix=b"batch-"))
        for owner in range(PROCESSES):
            self.check_batch(owner, {key: found[key] for key in batch(owner) if key in found})


def work(path: Path, owner: int, ledger: Ledger, seed: int) -> None:
    Worker(path, owner, ledger, seed).run()


def workers(path: Path, ledger: Ledger) -> Iterator[list[Child]]:
    """Keep eight workers at it, and yield them once a second, after one was replaced."""
    chance = random.Random(1)
    seeds = iter(range(10**6))

    def start(owner: int) -> Child:
        seed = next(seeds)
        return Child(lambda: work(path, owner, ledger, seed))

    children = [start(owner) for owner in range(PROCESSES)]
    try:
        while True:
            time.sleep(chance.uniform(0.9, 1.1))
            yield children
            victim = chance.randrange(PROCESSES)
            children[victim].kill()
            children[victim] = start(victim)
    finally:
        for child in children:
            if child.running():
                child.kill()


def test_eight_processes_with_one_killed_every_second(tmp_path: Path) -> None:
    path, ledger = tmp_path / "store", Ledger()
    end = time.monotonic() + SECONDS
    for children in workers(path, ledger):
        assert all(child.running() for child in children), "a worker found something wrong, see above"
        if time.monotonic() > end:
            break
    db = stratakv.open(path, **OPTIONS)
    for owner in range(PROCESSES):
        check = Worker(path, owner, ledger, 0)
        check.check_own()
        check.read_batch()
    rows = [Ledger.counter_row(owner) for owner in range(PROCESSES)]
    counted = sum(int(db.get(b"counter-%d" % number, b"0")) for number in range(COUNTERS))
    acknowledged = sum(ledger.acknowledged[row] for row in rows)
    assert acknowledged <= counted <= sum(ledger.begun[row] for row in rows)
    assert acknowledged > SECONDS * 10
    assert db.verify().damage == ()
