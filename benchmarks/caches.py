"""The peers of the Django cache: a backend each, as its users would set it up for speed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.cache import BaseCache, CacheHandler
from django.core.management import call_command
from django.db import connections

from benchmarks import servers
from benchmarks.peers import NO_LIMIT, Calls, Candidate, Peer, described, package
from benchmarks.stores import DISKCACHE_FASTEST
from stratakv_django import handles

_UNCULLED = {"MAX_ENTRIES": 10**9}
_SQLITE = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF"
_TABLE = "cache"
_MEGABYTES = 2  # of Memcached, for each megabyte that is put


@dataclass(frozen=True, slots=True)
class CacheCalls(Calls):
    """A peer that is a cache, with the operations of many keys at a time, too."""

    cache: BaseCache

    def put_many(self, batches: Sequence[dict[str, Any]]) -> None:
        set_many = self.cache.set_many
        for batch in batches:
            set_many(batch)

    def get_many(self, batches: Sequence[list[str]]) -> object:
        get_many = self.cache.get_many
        found: dict[str, Any] = {}
        for batch in batches:
            found = get_many(batch)
        return found


def _configure() -> None:
    """Set Django up, once a process."""
    if not settings.configured:
        settings.configure(SECRET_KEY=secrets.token_hex(), USE_TZ=True)
        django.setup()


def _peer(backend: str, location: object, options: dict[str, Any], *at_the_end: Callable[[], object]) -> Peer:
    _configure()
    cache = CacheHandler(
        {"default": {"BACKEND": backend, "LOCATION": location, "TIMEOUT": None, "OPTIONS": options}}
    )["default"]
    stack = ExitStack()
    for action in (*at_the_end, cache.close):
        stack.callback(action)
    return CacheCalls(cache.set, cache.get, cache.delete, stack.close, cache)


def _strata(path: Path, _: int) -> Peer:
    return _peer("stratakv_django.cache.StrataKVCache", path, {}, handles.close_all)


def _local_memory(path: Path, _: int) -> Peer:
    return _peer("django.core.cache.backends.locmem.LocMemCache", path.name, _UNCULLED)


def _file_based(path: Path, _: int) -> Peer:
    return _peer("django.core.cache.backends.filebased.FileBasedCache", path, _UNCULLED)


def _database(path: Path, _: int) -> Peer:
    _configure()
    options = {"init_command": _SQLITE, "transaction_mode": "IMMEDIATE"}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{path}.sqlite3", "OPTIONS": options}
    settings.DATABASES = {"default": database}  # nothing has asked for it before
    call_command("createcachetable", _TABLE, verbosity=0)
    return _peer("django.core.cache.backends.db.DatabaseCache", _TABLE, _UNCULLED, connections.close_all)


def _disk_cache(options: dict[str, Any]) -> Callable[[Path, int], Peer]:
    return lambda path, _: _peer("diskcache.DjangoCache", path, {"size_limit": NO_LIMIT, **options})


def _redis(backend: str, *, tcp: bool) -> Callable[[Path, int], Peer]:
    def open_cache(_path: Path, _payload_bytes: int) -> Peer:
        server = servers.Redis()
        address = f"redis://127.0.0.1:{server.port}" if tcp else f"unix://{server.unix_socket}"
        return _peer(backend, address, {}, server.close)

    return open_cache


def _memcached(_: Path, payload_bytes: int) -> Peer:
    server = servers.Memcached(64 + _MEGABYTES * payload_bytes // 10**6)
    backend = "django.core.cache.backends.memcached.PyMemcacheCache"
    return _peer(backend, f"127.0.0.1:{server.port}", {"no_delay": True}, server.close)


def _redis_candidates() -> Iterable[Candidate]:
    backends = {
        "RedisCache": ("django.core.cache.backends.redis.RedisCache", ()),
        "django-redis": ("django_redis.cache.RedisCache", ("django_redis",)),
    }
    for name, (backend, packages) in backends.items():
        needs = servers.needed(servers.redis_program, "redis-server", "redis", "hiredis", *packages)
        for way in ("TCP", "Unix"):
            described = f'over {way}, hiredis; a server with save "", appendonly no'
            yield Candidate(f"{name} {way}", described, _redis(backend, tcp=way == "TCP"), needs, 20)


CANDIDATES = (
    Candidate("StrataKV", 'defaults: durability="interval"', _strata, package("stratakv")),
    Candidate("LocMemCache", "no culling", _local_memory, package("django")),
    Candidate("FileBasedCache", "no culling", _file_based, package("django"), 40),
    Candidate("DatabaseCache", f"SQLite in a file, {_SQLITE}; no culling", _database, package("django"), 40),
    Candidate(
        "diskcache", "DjangoCache, its defaults, but no size limit", _disk_cache({}), package("diskcache"), 10
    ),
    Candidate(
        "diskcache fast",
        f"DjangoCache, {described(DISKCACHE_FASTEST)}, no size limit",
        _disk_cache(DISKCACHE_FASTEST),
        package("diskcache"),
        10,
    ),
    *_redis_candidates(),
    Candidate(
        "PyMemcacheCache",
        "over TCP, no_delay",
        _memcached,
        servers.needed(servers.memcached_program, "memcached", "pymemcache"),
        20,
    ),
)
