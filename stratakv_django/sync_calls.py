"""Django's cache API over a StrataKV store: every call but the `a*` ones and `get_or_set`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func
from django.core.exceptions import ImproperlyConfigured

import stratakv
from stratakv_django import codec, naming
from stratakv_django.alias import Alias, makes_plain_keys, ttl_of
from stratakv_django.tolerance import STORAGE_ERRORS


class SyncCalls(Alias):
    """A cache in a directory, with all of `BaseCache` that does not await anything."""

    # -- one key ---------------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        name = self._name(key, version)
        stored = None
        try:
            stored = (self._store.handle or self._open()).get(name)
            return default if stored is None else codec.decode(name, stored)
        except codec.UndecodableValueError as error:
            self._discard(name, stored, error)
        except STORAGE_ERRORS as error:
            if not self._tolerance.covers("read", error, [name]):
                raise
        return default

    def set(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        name = self._name(key, version)
        # `encode` is written out for most texts: calling it would be 2 % of a set.
        if type(value) is str and value.isascii():
            stored = codec.TEXT + value.encode()
        else:
            stored = codec.encode(name, value)
        ttl = self.default_timeout if timeout is DEFAULT_TIMEOUT else ttl_of(timeout)
        try:
            if ttl is not None and ttl <= 0:
                self._db.delete(name)
                return
            if self._limited:
                self._make_room(name)
            (self._store.handle or self._open()).put(name, stored, ttl)
        except STORAGE_ERRORS as error:
            if not self._survives_unsaved([name], error):
                raise

    def add(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        name = self._name(key, version)
        stored = codec.encode(name, value)
        ttl = self._ttl(timeout)
        with self._tolerance.block("write", [name]):
            if ttl is not None and ttl <= 0:
                return name not in self._db
            if self._limited:
                self._make_room(name)
            return self._db.add(name, stored, ttl)
        return False

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        name = self._name(key, version)
        ttl = self._ttl(timeout)
        with self._tolerance.block("write", [name]):
            if ttl is not None and ttl <= 0:
                return self._db.delete(name)
            return self._db.touch(name, ttl)
        return False

    def ttl(self, key: Any, version: int | None = None) -> float | None:
        """Return the seconds an entry has left: None for ever, 0 for one that is not there."""
        name = self._name(key, version)
        with self._tolerance.block("read", [name]):
            try:
                return self._db.ttl(name)
            except stratakv.KeyNotFoundError:
                pass
        return 0

    def delete(self, key: Any, version: int | None = None) -> bool:
        name = self._name(key, version)
        with self._tolerance.block("write", [name]):
            deleted = self._db.delete(name)
            self._release(int(deleted))
            return deleted
        return False

    def has_key(self, key: Any, version: int | None = None) -> bool:
        name = self._name(key, version)
        with self._tolerance.block("read", [name]):
            return name in self._db
        return False

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add `delta`, atomically, and keep the time to live; raises ValueError if `key` is missing."""
        name = self._name(key, version)
        before = None

        def added(stored: bytes) -> bytes:
            nonlocal before
            before = stored
            return codec.encode(name, codec.decode(name, stored) + delta)

        try:
            with self._tolerance.block("write", [name]):
                stored = self._db.update(name, added)
                if stored is not None:
                    value: int = codec.decode(name, stored)
                    return value
        except codec.UndecodableValueError as error:
            self._discard(name, before, error)
        raise ValueError(f"Key '{key}' not found")

    def decr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return self.incr(key, -delta, version)

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move a value to another version, atomically, with its time to live; raises ValueError."""
        version = self.version if version is None else version
        old, new = self._name(key, version), self._name(key, version + delta)
        with self._tolerance.block("write", [old]), self._db.transaction() as tx:
            ttl = stored = None
            with suppress(stratakv.KeyNotFoundError):
                ttl = tx.ttl(old)
                stored = tx.get(old)  # after it: what expires between them is missing
            if stored is not None:
                tx.delete(old)
                try:
                    tx.put(new, codec.rename(stored, old, new), ttl)
                    return version + delta
                except codec.UndecodableValueError as error:
                    self._tolerance.undecodable(old, error)
        raise ValueError(f"Key '{key}' not found")

    def decr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return self.incr_version(key, -delta, version)

    # -- many keys -------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return what is there; of a batch that another process writes, all or nothing is seen."""
        names = {key: self._name(key, version) for key in keys}
        stored: dict[bytes, bytes] = {}
        with self._tolerance.block("read", names.values()):
            stored = self._db.get_many(list(names.values()))
        found = {}
        for key, name in names.items():
            if name in stored:
                try:
                    found[key] = codec.decode(name, stored[name])
                except codec.UndecodableValueError as error:
                    self._discard(name, stored[name], error)
        return found

    def set_many(
        self, data: dict[Any, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Write `data` as one atomic batch; return the keys that were not saved, which are none or all.

        A batch that is too large for the budget is written in parts, each of them atomic; where there are
        MAX_ENTRIES, each entry is one.
        """
        names = {key: self._name(key, version) for key in data}
        batch = {names[key]: codec.encode(names[key], value) for key, value in data.items()}
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            with self._tolerance.block("write", batch):
                self._db.delete_many(batch)
                return []
            return list(data)
        parts = [{name: stored} for name, stored in batch.items()] if self._limited else [batch]
        unsaved = frozenset[bytes]().union(*[self._put_batch(part, ttl) for part in parts])
        return [key for key, name in names.items() if name in unsaved]

    def _put_batch(self, batch: dict[bytes, bytes], ttl: float | None) -> frozenset[bytes]:
        """Write a batch, halved until the budget takes it; return the names that were not saved."""
        try:
            if self._limited:
                for name in batch:
                    self._make_room(name)
            self._db.put_many(batch, ttl)
        except STORAGE_ERRORS as error:
            if isinstance(error, stratakv.InvalidValueError) and self._has_budget and len(batch) > 1:
                items, half = list(batch.items()), len(batch) // 2
                try:
                    unsaved = self._put_batch(dict(items[:half]), ttl)
                finally:  # also where a value of the first half is raised about
                    rest = self._put_batch(dict(items[half:]), ttl)
                return unsaved | rest
            # The largest first, which is the one to name where it is too large.
            if not self._survives_unsaved(sorted(batch, key=lambda name: -len(batch[name])), error):
                raise
            return frozenset(batch)
        return frozenset()

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        names = [self._name(key, version) for key in keys]
        with self._tolerance.block("write", names):
            self._release(self._db.delete_many(names))

    def clear(self) -> None:
        """Remove every entry of this KEY_PREFIX, in all its versions, and nothing else from the store.

        At once, whatever their number; maintenance gives the space back.
        """
        with self._tolerance.block("write"):
            self._db.delete_prefix(self._namespace)
            self._store.census(self._namespace).forget()

    def delete_prefix(self, prefix: str, version: int | None = None) -> None:
        """Remove every entry of this version whose key begins with `prefix`, at once, whatever their number.

        It begins a new segment of the store, so it is for some of a site's requests, not for each. Keys that
        are longer than 65,000 bytes are not found. Raises TypeError for a prefix that is no text, and
        ImproperlyConfigured with a KEY_FUNCTION, which may put anything in front of it.
        """
        name = self._prefix_name(prefix, version)
        with self._tolerance.block("write"):
            self._db.delete_prefix(name)
            self._store.census(self._namespace).forget()

    def iter_keys(self, prefix: str = "", version: int | None = None) -> Iterator[str]:
        """Yield the keys of this version that begin with `prefix`, those written first before the others.

        It walks over all of the store. Keys and errors are as for `delete_prefix`.
        """
        head, name = self._prefix_name("", version), self._prefix_name(prefix, version)
        return self._iter_keys(name, len(head))

    def _iter_keys(self, name: bytes, start: int) -> Iterator[str]:
        with self._tolerance.block("read"):
            for found in self._db.keys(name):
                yield naming.text(found[start:])

    def _prefix_name(self, prefix: str, version: int | None) -> bytes:
        """Return what the engine keys of this version begin with whose keys begin with `prefix`."""
        if not isinstance(prefix, str):
            raise TypeError(f"a prefix must be text, not {type(prefix).__name__}")
        if self.key_func is not default_key_func or not makes_plain_keys(type(self)):
            raise ImproperlyConfigured("a prefix needs the keys as Django makes them: no KEY_FUNCTION")
        return self._name(prefix, version)

    def lock(self, key: Any, version: int | None = None) -> stratakv.Lock:
        """Return a lock that only one thread of all processes can hold, for work that should be done once.

        It keeps nobody from reading or writing the entry. See `stratakv.Lock`; its errors are raised, always.
        """
        return self._db.lock(self._name(key, version))
