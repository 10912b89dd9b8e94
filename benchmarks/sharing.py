"""The peers that many processes use at once; each of them opens, or connects, for itself."""

from __future__ import annotations

from pathlib import Path

from benchmarks import servers
from benchmarks.peers import NO_LIMIT, Calls, Candidate, described, package
from benchmarks.stores import DISKCACHE_FASTEST, strata

_SHARDS = 8
_SPARE_BYTES = 2**26
_PATIENCE = 60.0  # seconds: with the 10 ms it has by default, many of its puts would not be done


def _lmdb(path: Path, payload_bytes: int) -> Calls:
    import lmdb

    environment = lmdb.open(str(path), map_size=_SPARE_BYTES + 8 * payload_bytes, sync=False)
    begin = environment.begin

    def put(key: bytes, value: bytes) -> bool:
        with begin(write=True) as transaction:
            return transaction.put(key, value)

    def delete(key: bytes) -> bool:
        with begin(write=True) as transaction:
            return transaction.delete(key)

    return Calls(put, lambda key: begin().get(key), delete, environment.close)


def _fanout(path: Path, _: int) -> Calls:
    import diskcache  # type: ignore[import-untyped]

    cache = diskcache.FanoutCache(
        str(path), shards=_SHARDS, timeout=_PATIENCE, size_limit=NO_LIMIT, **DISKCACHE_FASTEST
    )
    return Calls(cache.set, cache.get, cache.delete, cache.close)


def _redis(path: Path, _: int) -> Calls:
    import redis

    client = redis.Redis(unix_socket_path=str(path))
    return Calls(client.set, client.get, client.delete, client.close)


CANDIDATES = (
    Candidate("StrataKV", 'durability="os"', strata, package("stratakv")),
    Candidate("LMDB", "sync=False; a transaction for each operation", _lmdb, package("lmdb")),
    Candidate(
        "diskcache FanoutCache",
        f"shards={_SHARDS}, timeout={_PATIENCE:g}, {described(DISKCACHE_FASTEST)}, no size limit",
        _fanout,
        package("diskcache"),
    ),
    Candidate(
        "Redis",
        'redis-py and hiredis over a Unix socket; a server with save "", appendonly no',
        _redis,
        servers.needed(servers.redis_program, "redis-server", "redis", "hiredis"),
    ),
)
SERVERS = {"Redis": servers.Redis}
