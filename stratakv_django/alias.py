"""One alias of `CACHES`: its settings, and what every call needs of them. Keys, times, failures."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func
from django.core.exceptions import ImproperlyConfigured

import stratakv
from stratakv_django import codec, conf, handles, naming
from stratakv_django.incidents import Kind
from stratakv_django.tolerance import STORAGE_ERRORS, Tolerance


class Alias(BaseCache):
    """What is behind the calls on one alias."""

    def __init__(self, location: object, params: dict[str, Any]) -> None:
        """Read the settings of one alias; touch no file. Wrong ones raise ImproperlyConfigured when used."""
        try:
            settings = conf.parse(location, params)
            self._store = handles.store(settings.path, settings.engine)
        except ImproperlyConfigured as error:  # not yet: `manage.py check` makes all backends, and must go on
            settings = conf.CacheSettings()
            self._store = handles.MisconfiguredStore(error)
            params = {**params, "OPTIONS": {}}  # Django asks them, whatever they are
        timeout = params.get("timeout", params.get("TIMEOUT"))
        if timeout == math.inf:  # of which Django cannot make a whole number
            params = {**params, "timeout": None}
        super().__init__(params)
        if isinstance(timeout, float) and math.isfinite(timeout):  # of which Django takes the whole seconds
            self.default_timeout = timeout
        self.default_timeout = ttl_of(self.default_timeout)
        self._max_entries = settings.max_entries
        self._cull_frequency = settings.cull_frequency
        self._key_warnings = settings.key_warnings
        self._tolerance = Tolerance(self._store, strict=settings.strict)
        self._namespace = naming.namespace(str(self.key_prefix))
        self._head = self._namespace + naming.utf8(default_key_func("", self.key_prefix, self.version))
        self._makes_plain_keys = not self._key_warnings and makes_plain_keys(type(self))
        # Counting and culling walk over all keys, and "always" waits for the disk.
        self._limited = settings.max_entries != conf.UNLIMITED
        self._has_budget = bool(settings.engine.max_bytes)
        self._writes_can_block = self._limited or settings.engine.durability == "always"

    def _open(self) -> stratakv.DB:
        # Whoever wants errors raised wants to see this one, too, with the store as it is.
        return self._store.open(rescue=not self._tolerance.strict)

    # -- what can be seen from outside -----------------------------------------------------------------

    def validate_key(self, key: Any) -> None:
        """Warn about a key that memcached would refuse, if the option `key_warnings` asks for it."""
        if self._key_warnings:
            super().validate_key(key)

    def close(self, **kwargs: Any) -> None:
        """Leave the store open for the next request, unless somebody has removed it; looks once a second."""
        self._store.look()

    def stats(self) -> stratakv.Stats:
        """Return the statistics of the whole store; raises StrataKVError."""
        return self._db.stats()

    def incidents(self) -> dict[Kind, int]:
        """Return how many failed reads, failed writes and bad values this process has survived."""
        return self._store.incidents.counts()

    # -- keys, times and failures ----------------------------------------------------------------------

    @property
    def _db(self) -> stratakv.DB:
        """The open store; get and set say this themselves, as a call would be 3 % of a get."""
        return self._store.handle or self._open()

    def _name(self, key: Any, version: int | None) -> bytes:
        """Return the engine key. `make_key` is written out here: calling it would be 15 % of a get."""
        if version is None and self._makes_plain_keys and self.key_func is default_key_func:
            try:
                name = self._head + f"{key!s}".encode()
            except UnicodeEncodeError:
                name = self._head + naming.utf8(str(key))
        else:
            name = self._namespace + naming.utf8(str(self.make_and_validate_key(key, version)))
        return name if len(name) <= naming.MAX_KEY_BYTES else naming.long_name(self._namespace, name)

    def _ttl(self, timeout: float | None) -> float | None:
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else ttl_of(timeout)

    def _make_room(self, name: bytes) -> None:
        """Cull, if `name` is new and the alias is full."""
        if name not in self._db:
            self._store.census(self._namespace).admit(self._db, self._max_entries, self._cull_frequency)

    def _release(self, count: int) -> None:
        if self._limited:
            self._store.census(self._namespace).release(count)

    def _survives_unsaved(self, names: Collection[bytes], error: BaseException) -> bool:
        """Tell if a failed write is tolerated. What a too large value should have replaced is removed."""
        if isinstance(error, stratakv.InvalidValueError):
            with self._tolerance.block("write", names):
                self._db.delete_many(names)
        return self._tolerance.covers("write", error, names)

    def _discard(self, name: bytes, stored: bytes | None, error: codec.UndecodableValueError) -> None:
        """Remove a value that does not decode: it is a miss, which `add` must be able to fill."""
        self._tolerance.undecodable(name, error)
        with suppress(*STORAGE_ERRORS), self._db.transaction() as tx:
            if tx.get(name) == stored:  # nobody wrote a better one meanwhile
                tx.delete(name)


def ttl_of(timeout: float | None) -> float | None:
    """Return the time to live that the engine is given for a timeout.

    Django's own backends take one of any length, and True for a second; the engine takes neither.
    """
    if timeout is None or timeout >= stratakv.LONGEST_TTL:
        return None
    return int(timeout) if isinstance(timeout, bool) else timeout


def makes_plain_keys(backend: type[Alias]) -> bool:
    """Tell if `backend` makes keys as `BaseCache` does, and not as a subclass of its own does."""
    return (
        backend.make_key is BaseCache.make_key
        and backend.make_and_validate_key is BaseCache.make_and_validate_key
        and backend.validate_key is Alias.validate_key
    )
