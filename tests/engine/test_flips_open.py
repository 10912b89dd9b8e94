"""Bits flipped under open handles: the map of every process shows them at once.

Of a log nothing that was flipped is believed. An index that has been verified is believed like memory: a bit
lost in it under an open handle may hide a record, and the version before it shows until `verify`, or the next
process that opens the store, finds it. The tests count these, and see that they are found.
"""

from __future__ import annotations

import mmap
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stratakv import DB
from stratakv.index import HEADER_BYTES
from stratakv.log import OFFSET_MASK
from tests.engine.conftest import Open
from tests.engine.free_bits import CONTROL_WORDS, is_free
from tests.engine.machine import flip

Model = dict[bytes, bytes]


def fill(db: DB, keys: int, size: int) -> Model:
    """Put two versions and more of each key into main, finished, sealed and active segments."""
    numbers = random.Random(5)
    model: Model = {}
    for version in range(4):
        for number in range(keys):
            if version and numbers.random() < 0.4:
                continue
            key = b"key %d" % number
            if numbers.random() < 0.05:
                db.delete(key)
                model.pop(key, None)
            else:
                model[key] = b"%d of %d " % (version, number) + numbers.randbytes(size)
                db.put(key, model[key])
        if version < 2:
            db.compact()
        elif version == 2:
            db.maintain()
    return model


def files(db: DB, path: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield each file, and from where to where it is not just room for more or counters."""
    for segment in db._store.structure.view.segments():
        tip = segment.end if segment.entry else db.stats().segments[0].log_bytes
        yield segment.path, 0, tip
        yield segment.path.with_suffix(".idx"), 0, segment.arrays.shape.size
    for name in ("MANIFEST", "FORMAT"):  # MANIFEST.old is not a part of the store
        yield path / name, 0, (path / name).stat().st_size
    yield path / "CONTROL", 0, CONTROL_WORDS


def test_verify_finds_every_flip(open_: Open, path: Path) -> None:
    """All but those of bits that say nothing.

    In the index being written these are also the words that only count when it is sealed, and bits that its
    filter has beyond those it needs, which make a lookup look in vain.
    """
    db = open_()
    fill(db, 25, 8)
    assert db.verify().ok
    shapes = {f"{s.number:06d}.idx": s.arrays.shape for s in db._store.structure.view.segments()}
    active = f"{db.stats().segments[0].number:06d}.idx"
    found = missed = free = 0
    for file, start, end in files(db, path):
        shape = shapes.get(file.name)
        for offset in range(start, end):
            bit = offset % 8
            unsealed = file.name == active and 7 * 8 <= offset < 11 * 8
            data = file.read_bytes()[offset] >> bit & 1
            more = (
                file.name == active and shape and shape.bloom_offset <= offset < shape.hot_offset and not data
            )
            flip(file, offset, bit)
            report = db.verify()
            flip(file, offset, bit)
            if unsealed or more or is_free(file.name, offset, shape):
                free += 1
            elif not report.ok:
                assert str(file) in {damage.path for damage in report.damage}, (file.name, offset, bit)
                found += 1
            else:
                print(file.name, offset, bit)
                missed += 1
    print(f"{found:,} flips found, {missed:,} missed, {free:,} of bits that say nothing")
    assert db.verify().ok
    assert found > 4000
    assert missed <= found / 1000


class Mapped:
    """A file as its disk would change it: through a map of our own."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self.bytes = mmap.mmap(opened.fileno(), 0)

    def flip(self, place: int) -> None:
        self.bytes[place // 8] ^= 1 << place % 8


FLIPS = 100_000


def test_random_flips_in_logs(open_: Open) -> None:
    """A hundred thousand, each under an open handle: the right value or a counted miss, whoever asks."""
    db = open_(segment_bytes=2**17)
    model = fill(db, 3000, 60)
    numbers = random.Random(6)
    logs = []
    for segment in db._store.structure.view.segments():
        end = segment.end if segment.entry else db.stats().segments[0].log_bytes
        records = [(each.offset, each.key) for each in segment.records(end) if each.key]
        logs.append(
            (Mapped(segment.path), end, [offset for offset, _ in records], [key for _, key in records])
        )
    assert len(logs) >= 4
    weights = [end for _, end, _, _ in logs]
    every = list(model)
    counts: Counter[str] = Counter()
    for number, (log, end, offsets, keys) in enumerate(numbers.choices(logs, weights, k=FLIPS)):
        place = numbers.randrange(8 * end)
        key = keys[max(0, bisect_right(offsets, place // 8) - 1)]
        damaged = db.stats().damaged_reads if number % 100 == 0 else 0
        log.flip(place)
        value = db.get(key)
        assert value in (model.get(key), None), (key, place)
        counts["right" if value == model.get(key) else "miss"] += 1
        assert db.get_many([key]).get(key) == value
        assert (key in db) is (value is not None)
        other = numbers.choice(every)
        assert db.get(other) in (model[other], None)
        if number % 100 == 0:
            assert value == model.get(key) or db.stats().damaged_reads > damaged
            listed = dict(db.scan(start=key, stop=key + b"\0"))
            assert listed.get(key) == value
        if number % 2000 == 0:
            assert dict(db.scan()).items() <= model.items()
            assert set(db.keys()) <= model.keys()
        log.flip(place)
    print(f"logs: {dict(counts)}")
    assert min(counts.values()) > FLIPS / 20
    assert all(db.get(key) == value for key, value in model.items())
    assert dict(db.scan()) == model
    assert db.verify().ok


def test_random_flips_in_indexes(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crash, no hang and no other key's value; an older version shows at times."""
    db = open_(segment_bytes=2**17)
    monkeypatch.setattr(db._store.structure, "heal", lambda segment: False)  # to go on with the same maps
    model = fill(db, 3000, 60)
    numbers = random.Random(7)
    indexes = []
    for segment in db._store.structure.view.sealed:
        shape = segment.arrays.shape
        at = {slot & OFFSET_MASK: place for place, slot in enumerate(segment.slots) if slot}
        key_in = {at[found.offset]: found.key for found in segment.records() if found.offset in at}
        indexes.append((Mapped(segment.path.with_suffix(".idx")), shape, key_in, list(key_in.items())))
    counts: Counter[str] = Counter()
    for index, shape, key_in, entries in numbers.choices(indexes, k=FLIPS // 4):
        if numbers.random() < 0.5:
            slot, key = numbers.choice(entries)
            place = 8 * (HEADER_BYTES + 8 * slot) + numbers.randrange(64)
        else:
            place = numbers.randrange(8 * HEADER_BYTES, 8 * shape.size)
            key = key_in.get(place // 64 - HEADER_BYTES // 8) or numbers.choice(entries)[1]
        index.flip(place)
        value = db.get(key)
        if value == model.get(key):
            counts["right"] += 1
        elif value is None:
            counts["miss"] += 1
        else:
            assert value.split(b" ")[2] == key.split(b" ")[1], "a version of this very key"
            counts["older"] += 1
        index.flip(place)
    print(f"indexes: {dict(counts)}")
    assert all(db.get(key) == value for key, value in model.items())
