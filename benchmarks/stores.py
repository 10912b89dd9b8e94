"""The peers of the engine, each as its users would set it up for speed, with nothing kept in memory by ours.

None waits for the disk in a put, and none loses what a process that was killed had put.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import stratakv
from benchmarks.peers import NO_LIMIT, BlindCalls, Calls, Candidate, Peer, described, package

DISKCACHE_FASTEST: dict[str, Any] = {"eviction_policy": "none", "cull_limit": 0, "sqlite_synchronous": 0}
_LEVELDB_FASTEST = {"compression": None, "bloom_filter_bits": 10, "write_buffer_size": 2**26}
_SPARE_BYTES = 2**26
_BLOOM_BITS = 10  # a key


class LMDB:
    """LMDB, with a transaction for every operation: without one, others see no put, and a get no others'.

    A read transaction is ended by dropping it, which takes 0.2 µs less than a `with` block does.
    """

    def __init__(
        self, path: Path, payload_bytes: int, *, writemap: bool = False, readahead: bool = True
    ) -> None:
        import lmdb

        # Its tree fills pages half at worst; a value of half a page or more has pages of its own, rounded up.
        map_bytes = _SPARE_BYTES + 8 * payload_bytes
        self._environment = lmdb.open(
            str(path), map_size=map_bytes, sync=False, writemap=writemap, readahead=readahead
        )

    def put(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        begin = self._environment.begin
        for key, value in items:
            with begin(write=True) as transaction:
                transaction.put(key, value)

    def get(self, keys: Sequence[bytes]) -> bytes | None:
        begin = self._environment.begin
        value = None
        for key in keys:
            value = begin().get(key)
        return value

    def delete(self, keys: Sequence[bytes]) -> bool:
        begin = self._environment.begin
        there = False
        for key in keys:
            with begin(write=True) as transaction:
                there = transaction.delete(key)
        return there

    def close(self) -> None:
        self._environment.close()


def strata(path: Path, _: int) -> Peer:
    db = stratakv.open(path, durability="os")
    return Calls(db.put, db.get, db.delete, db.close)


def _lmdb(path: Path, payload_bytes: int) -> Peer:
    return LMDB(path, payload_bytes)


def _lmdb_writemap(path: Path, payload_bytes: int) -> Peer:
    return LMDB(path, payload_bytes, writemap=True)


def _rocks(path: Path, payload_bytes: int) -> Peer:
    import rocksdict as rocks

    blocks = rocks.BlockBasedOptions()
    blocks.set_bloom_filter(_BLOOM_BITS, False)
    blocks.set_data_block_index_type(rocks.DataBlockIndexType.binary_and_hash())
    blocks.set_block_cache(rocks.Cache(_SPARE_BYTES + 2 * payload_bytes))
    options = rocks.Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(rocks.DBCompressionType.none())
    options.set_allow_mmap_reads(True)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.02)
    options.set_allow_concurrent_memtable_write(False)
    db = rocks.Rdict(str(path), options)
    return BlindCalls(db.put, db.get, db.delete, db.close)


def _level(path: Path, payload_bytes: int) -> Peer:
    import plyvel  # type: ignore[import-untyped]

    cache_bytes = _SPARE_BYTES + 2 * payload_bytes
    db = plyvel.DB(str(path), create_if_missing=True, lru_cache_size=cache_bytes, **_LEVELDB_FASTEST)
    return BlindCalls(db.put, db.get, db.delete, db.close)


def disk_cache(path: Path, settings: dict[str, Any]) -> Peer:
    """Return diskcache with these settings, and without a limit of its size."""
    import diskcache  # type: ignore[import-untyped]

    cache = diskcache.Cache(str(path), size_limit=NO_LIMIT, **settings)
    return Calls(cache.set, cache.get, cache.delete, cache.close)


def _disk_cache(path: Path, _: int) -> Peer:
    return disk_cache(path, {})


def _fastest_disk_cache(path: Path, _: int) -> Peer:
    return disk_cache(path, DISKCACHE_FASTEST)


_BLIND = "its deletes do not tell whether the key was there"
_LMDB = "sync=False, writemap={}; a transaction for each operation; a power cut can cost it {}"
_ROCKS = (
    "write-ahead log without sync, raw mode, no compression, mmap reads, Bloom filters of 10 bits, also of "
    "the memtable, hash index in blocks, a block cache for all data, no concurrent memtable writes"
)

CANDIDATES = (
    Candidate("StrataKV", 'durability="os"', strata, package("stratakv")),
    Candidate("LMDB", _LMDB.format(False, "the last writes"), _lmdb, package("lmdb")),
    Candidate("LMDB writemap", _LMDB.format(True, "the whole database"), _lmdb_writemap, package("lmdb")),
    Candidate("RocksDB", f"{_ROCKS}; {_BLIND}", _rocks, package("rocksdict")),
    Candidate(
        "LevelDB",
        f"log without sync, {described(_LEVELDB_FASTEST)}, lru_cache_size for all data; {_BLIND}",
        _level,
        package("plyvel"),
    ),
    Candidate("diskcache", "its defaults, but no size limit", _disk_cache, package("diskcache"), 5),
    Candidate(
        "diskcache fast",
        f"{described(DISKCACHE_FASTEST)}, no size limit",
        _fastest_disk_cache,
        package("diskcache"),
        5,
    ),
)
