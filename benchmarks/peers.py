"""The stores that are compared, each as its users would set it up for speed, with nothing kept in memory.

Every peer runs its own loops, so that none pays for a wrapper around its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import diskcache  # type: ignore[import-untyped]
import lmdb

import stratakv

NO_LIMIT = 2**40  # bytes: a peer that evicts would have less to do than the others
DISKCACHE_FASTEST = {"eviction_policy": "none", "cull_limit": 0, "sqlite_synchronous": 0}


class Peer(Protocol):
    """One of the stores. `settings` says how it is set up, for the report."""

    name: str
    settings: str

    def put(self, items: Sequence[tuple[Any, Any]]) -> None:
        """Store each of `items`, visible to other processes before the next is begun."""

    def get(self, keys: Sequence[Any]) -> object:
        """Read each of `keys` as it is at that moment; return the last one's value, None if it is missing."""

    def delete(self, keys: Sequence[Any]) -> bool:
        """Delete each of `keys`; return whether the last one was there."""

    def close(self) -> None:
        """Let go of the store's files."""


def described(settings: dict[str, Any]) -> str:
    """Return `settings` as they would be written in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


class CallPeer:
    """A peer that has one method for each operation, as it is told."""

    def __init__(
        self,
        name: str,
        settings: str,
        *,
        put: Callable[[Any, Any], object],
        get: Callable[[Any], object],
        delete: Callable[[Any], bool],
        close: Callable[[], object],
    ) -> None:
        self.name = name
        self.settings = settings
        self._put = put
        self._get = get
        self._delete = delete
        self._close = close

    def put(self, items: Sequence[tuple[Any, Any]]) -> None:
        put = self._put
        for key, value in items:
            put(key, value)

    def get(self, keys: Sequence[Any]) -> object:
        get = self._get
        value = None
        for key in keys:
            value = get(key)
        return value

    def delete(self, keys: Sequence[Any]) -> bool:
        delete = self._delete
        there = False
        for key in keys:
            there = delete(key)
        return there

    def close(self) -> None:
        self._close()


class LMDB:
    """LMDB, with a transaction for every operation: without one, others see no put, and a get no others'.

    A read transaction is ended by dropping it, which takes 0.2 µs less than a `with` block does.
    """

    def __init__(self, path: Path, map_bytes: int, *, writemap: bool) -> None:
        self.name = "LMDB writemap" if writemap else "LMDB"
        self.settings = f"sync=False, writemap={writemap}; a transaction for each operation"
        self._environment = lmdb.open(str(path), map_size=map_bytes, sync=False, writemap=writemap)

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


def strata(path: Path) -> Peer:
    """StrataKV, with what corresponds to LMDB without sync."""
    db = stratakv.open(path, durability="os")
    return CallPeer("StrataKV", 'durability="os"', put=db.put, get=db.get, delete=db.delete, close=db.close)


def disk_cache(path: Path) -> Peer:
    """diskcache as it comes."""
    return _disk_cache("diskcache", "its defaults, but no size limit", path, {})


def fastest_disk_cache(path: Path) -> Peer:
    """diskcache without eviction, and without syncing its write-ahead log."""
    return _disk_cache(
        "diskcache fast", f"{described(DISKCACHE_FASTEST)}, no size limit", path, DISKCACHE_FASTEST
    )


def _disk_cache(name: str, description: str, path: Path, settings: dict[str, Any]) -> Peer:
    cache = diskcache.Cache(str(path), size_limit=NO_LIMIT, **settings)
    return CallPeer(name, description, put=cache.set, get=cache.get, delete=cache.delete, close=cache.close)
