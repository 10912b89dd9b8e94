"""A store of some 25 MB, merged, sealed and being written, of which a test knows what lies where."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile

from stratakv import DB
from stratakv.index import HEADER_BYTES, hash_key
from stratakv.log import OFFSET_MASK
from stratakv.segment import Segment
from tests.engine.conftest import Open
from tests.engine.machine import rotate

_KEYS = 7000
_TAIL = 140  # commits, about, after the last segment was sealed
_EVICTED = 4000  # keys, most of them
ACTIVE_BYTES = 2**19  # of the segment that is being written
_SMALL, _LARGE = 2**21, 2**30  # budgets, in bytes

Model = dict[bytes, bytes]


class LargeStore:
    """What was put into `db`, which has a budget and has evicted.

    settled: what was live when the segment being written began. tail: the commits since, None for a deletion.
    overwritten, gone: live and dead keys of which older segments still have versions. strange: some that were
    evicted, and one that was never there. ends: how long each log is.
    sealed: which of them are. shapes: of the indexes.
    """

    def __init__(self, open_: Open) -> None:
        with open_(max_bytes=_SMALL, segment_bytes=2**16) as small:
            for number in range(_EVICTED):
                small.put(b"early %d" % number, b"%d" % number * 200)
            small.maintain()
        self._numbers = random.Random(8)
        self.db = open_(max_bytes=_LARGE, segment_bytes=2**22)
        self._fill()
        self.db.close()
        self.db = db = open_(segment_bytes=ACTIVE_BYTES)
        rotate(db)  # now the manifest says that all of it is on disk
        self.settled: Model = dict(db.scan())
        self.tail = list(self._put(5, range(0, _KEYS, 2 * _KEYS // (5 * _TAIL))))
        segments = list(db._store.structure.view.segments())
        self.ends = {each.path.name: each.end for each in segments}
        self.sealed = [each.path.name for each in segments[1:]]
        self.ends[segments[0].path.name] = db.stats().segments[0].log_bytes
        self.shapes = {each.path.with_suffix(".idx").name: each.arrays.shape for each in segments}
        self._records = {each.path.name: self._read_log(each) for each in segments}
        self._words = {each.path.with_suffix(".idx").name: self._read_index(each) for each in segments}
        versions = Counter(key for _, keys in self._records.values() for key in set(keys) if key)
        hidden = sorted(key for key, count in versions.items() if count > 1)
        self.overwritten = [key for key in hidden if key in self.settled]
        self.gone = [key for key in hidden if key not in self.settled]
        early = [b"early %d" % number for number in range(_EVICTED)]
        self.strange = [b"nothing", *(key for key in early if key not in self.settled)]

    def _fill(self) -> None:
        """Put older and newer versions into merged, finished and sealed segments."""
        for version in range(4):
            list(self._put(version, range(_KEYS)))
            if version == 0:
                self.db.compact()
            self.db.maintain()
        for number in range(0, _KEYS, 50):
            self.db.put(b"range %d" % number, b"to be deleted")
        self.db.delete_prefix(b"range ")
        list(self._put(4, range(_KEYS // 2)))
        self.db.sync()

    def _put(self, version: int, keys: range) -> Iterator[tuple[bytes, bytes | None]]:
        """Write a share of the keys, now and then reading one."""
        db, numbers = self.db, self._numbers
        for number in keys:
            if version and numbers.random() < 0.6:
                continue
            key, value = b"key %d" % number, b"%d of %d " % (version, number)
            value += numbers.randbytes(numbers.randrange(40, 3600))
            dies = numbers.random()
            if dies < 0.03:
                db.delete(key)
            else:
                db.put(key, value, ttl=0 if dies < 0.05 else None)
            db.get(b"key %d" % numbers.randrange(_KEYS))
            yield key, None if dies < 0.05 else value

    def _read_log(self, segment: Segment) -> tuple[list[int], list[bytes]]:
        """Return the offset and the key of every record."""
        found = [(each.offset, each.key) for each in segment.records(self.ends[segment.path.name])]
        return [offset for offset, _ in found], [key for _, key in found]

    def _read_index(self, segment: Segment) -> dict[int, list[bytes]]:
        """Return the keys that each word of the index is about."""
        shape, about = segment.arrays.shape, defaultdict[int, list[bytes]](list)
        keys = dict(zip(*self._records[segment.path.name], strict=True))
        for place, slot in enumerate(segment.slots):
            if slot:
                key = keys[slot & OFFSET_MASK]
                about[HEADER_BYTES // 8 + place].append(key)
                about[shape.bloom_offset // 8 + hash_key(key)[0] % shape.words].append(key)
        for place, offset in enumerate(segment.arrays.order):
            about[shape.order_offset // 8 + place].append(keys[offset])
        return about

    @lru_cache(maxsize=16)  # noqa: B019  # there is one such store
    def after(self, commits: int) -> Model:
        """Return what was live after so many commits of the tail."""
        changed = dict(self.tail[:commits])
        live = {key: value for key, value in self.settled.items() if key not in changed}
        return live | {key: value for key, value in changed.items() if value is not None}

    def survived(self, db: DB) -> int:
        """Return how many commits of the tail `db` has."""
        there = (db.get(key) == value for key, value in self.tail)
        return sum(1 for _ in takewhile(bool, there))

    def sample(self, numbers: random.Random) -> list[bytes]:
        """Return some keys of each sort."""
        sorts = ((self.overwritten, 6), (self.gone, 4), (self.strange, 2), ([key for key, _ in self.tail], 2))
        return [key for keys, count in sorts for key in numbers.choices(keys, k=count)]

    def about(self, name: str, offset: int) -> list[bytes]:
        """Return the keys that this byte of this file is about, with those next to them in a log."""
        if name in self._records:
            offsets, keys = self._records[name]
            place = max(0, bisect_right(offsets, offset) - 1)
            return [key for key in keys[max(0, place - 1) : place + 2] if key]
        return self._words.get(name, {}).get(offset // 8, [])
