"""Which errors a cache call survives. By default a storage error is a miss, or a write that was not saved."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType

import stratakv
from stratakv_django.codec import UndecodableValueError
from stratakv_django.handles import Store
from stratakv_django.incidents import Kind
from stratakv_django.interruptions import is_from_a_signal

STORAGE_ERRORS = (stratakv.StrataKVError, OSError)
# What the caller did wrong, as against what the disk did wrong; never survived. A write inside another one is
# not: that is a log handler which uses the cache, and what is logged meanwhile must not break the write.
_CALLER_ERRORS = (stratakv.InvalidTTLError,)


class Tolerance:
    """Decides for one alias; what it survives is an incident of the store. strict: it survives none."""

    def __init__(self, store: Store, *, strict: bool) -> None:
        self._store = store
        self.strict = strict

    def covers(self, kind: Kind, error: BaseException, names: Collection[bytes] = ()) -> bool:
        """Take note of a storage error and return True, or return False: it must be raised.

        names: the engine keys of the entries that it was about.
        """
        if is_from_a_signal(error):
            return False
        if isinstance(error, stratakv.RemovedError):
            self._store.renew()
        if self.strict or isinstance(error, _CALLER_ERRORS):
            return False
        self._store.incidents.record(kind, error, names)
        return True

    def block(self, kind: Kind, names: Collection[bytes] = ()) -> TolerantBlock:
        """Return a context manager that ends its block early at a storage error, if it is covered."""
        return TolerantBlock(self, kind, names)

    def undecodable(self, name: bytes, error: UndecodableValueError) -> None:
        """Take note of a value that does not decode: a miss even if strict, for the disk did its part."""
        self._store.incidents.record("value", error, [name])


class TolerantBlock:
    """The block of `Tolerance.block`."""

    __slots__ = ("_kind", "_names", "_tolerance")

    def __init__(self, tolerance: Tolerance, kind: Kind, names: Collection[bytes]) -> None:
        self._tolerance = tolerance
        self._kind = kind
        self._names = names

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, STORAGE_ERRORS) and self._tolerance.covers(self._kind, error, self._names)
