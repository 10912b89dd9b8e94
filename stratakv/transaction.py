"""A transaction: what one thread reads and writes while all other writers are kept out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stratakv.arguments import Value, check_key, expiry_of, seconds_left
from stratakv.errors import KeyNotFoundError, TransactionError
from stratakv.files import now_ms
from stratakv.reader import Reader
from stratakv.record import is_live
from stratakv.view import View

T = TypeVar("T")
# What will be written: a value with its expiry, or None for a delete.
Pending = tuple[Value, int] | None


class Transaction:
    """Reads and writes of one thread, with all other writers kept out; one atomic commit at the end.

    Reads see the transaction's own writes. An exception that leaves the `with` block discards them all.
    """

    def __init__(self, check_value: Callable[[Value], bytes], reader: Reader, view: View) -> None:
        self._check_value = check_value
        self._reader = reader
        self._view = view
        self.pending: dict[bytes, tuple[bytes, int] | None] = {}
        self.open = True

    def _find(self, key: bytes) -> tuple[bytes, int] | None:
        """Return the value and the expiry of `key`, as this transaction sees it."""
        if not self.open:
            raise _ended()
        check_key(key)
        if key in self.pending:
            change = self.pending[key]
            return change if change and is_live(change[1], now_ms()) else None
        found = self._reader.find_live(self._view, key)
        return (found.value(), found.expiry) if found else None

    def get(self, key: bytes, default: T | None = None) -> bytes | T | None:
        """Return the value of `key`, or `default`."""
        found = self._find(key)
        return default if found is None else found[0]

    def __contains__(self, key: bytes) -> bool:
        return self._find(key) is not None

    def ttl(self, key: bytes) -> float | None:
        """Return the seconds `key` has left, None for ever; raises KeyNotFoundError."""
        found = self._find(key)
        if found is None:
            raise KeyNotFoundError(key)
        return seconds_left(found[1])

    def put(self, key: bytes, value: Value, ttl: float | None = None) -> None:
        """Set `key` to `value` for `ttl` seconds, None for ever."""
        expiry = expiry_of(ttl)
        if not self.open:
            raise _ended()
        check_key(key)
        self.pending[key] = self._check_value(value), expiry

    def delete(self, key: bytes) -> bool:
        """Delete `key`; return whether it was there."""
        there = key in self
        if there or (key not in self.pending and self._reader.is_lost(self._view, key)):
            self.pending[key] = None
        return there


def _ended() -> TransactionError:
    return TransactionError("the transaction has ended; open another")
