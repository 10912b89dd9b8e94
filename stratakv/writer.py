"""The operations that write: what can be done before the writer lock is taken is, then follows one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from stratakv import record
from stratakv.commit import Exclusive, Write
from stratakv.control import W_BUSY, W_TIP
from stratakv.errors import InvalidTTLError, InvalidValueError, KeyNotFoundError, TransactionError
from stratakv.files import now_ms
from stratakv.index import hash_key
from stratakv.options import MAX_KEY_BYTES
from stratakv.reader import Found, Reader, check_bounds, check_key
from stratakv.record import COMMIT, PUT, TOMBSTONE, TOMBSTONE_EXPIRY, checksum_of
from stratakv.structure import Held, Structure

T = TypeVar("T")
Value = bytes | bytearray | memoryview
# What a transaction will write: a value with its expiry, or None for a delete.
Pending = tuple[Value, int] | None

_LONGEST_TTL = 2**53  # seconds; 285 million years, and still exact in milliseconds
_LAST_PUT = PUT | COMMIT  # a put that is a commit of its own


def expiry_of(ttl: float | None) -> int:
    """Return when a `ttl` in seconds ends, in milliseconds since the epoch; 0 for None."""
    if ttl is None:
        return 0
    # Exact types first, as these are all but free; NaN is in no range.
    plain = ttl.__class__ is int or ttl.__class__ is float
    if plain or (isinstance(ttl, int | float) and not isinstance(ttl, bool)):
        if 0 <= ttl < _LONGEST_TTL:
            return int((time.time() + ttl) * 1000)
        if ttl >= _LONGEST_TTL:
            raise InvalidTTLError(f"a ttl of {ttl!r} seconds is too long to be stored; use None for ever")
    raise InvalidTTLError(f"a ttl must be a number of seconds from 0 on, or None for ever, not {ttl!r}")


def add_to_number(value: bytes, delta: int) -> tuple[int, bytes]:
    """Return the decimal number in `value` plus `delta`, and its digits; raises InvalidValueError."""
    try:
        number = int(value) + delta
    except ValueError:
        raise InvalidValueError("incr needs a whole number in decimal digits; the value is none") from None
    try:
        return number, b"%d" % number
    except ValueError as cause:
        raise InvalidValueError(f"the sum is too large: {cause}") from None


class Writer:
    """The writes of one process.

    commit_one: commits a single record, as that of `exclusive` does. committed: told the position behind each
    commit, the lock released.
    """

    def __init__(
        self,
        structure: Structure,
        reader: Reader,
        exclusive: Exclusive,
        max_value_bytes: int,
        commit_one: Callable[[bytes, int, int, bytes, int], int],
        committed: Callable[[int], None],
    ) -> None:
        self._structure = structure
        self._words = structure.control.words
        self._reader = reader
        self._exclusive = exclusive
        self._max_value_bytes = max_value_bytes
        self._commit_one = commit_one
        self._committed = committed

    def check_value(self, value: Value) -> bytes | bytearray | memoryview:
        """Return `value` as something that is as long as it says; raises InvalidValueError."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidValueError(
                f"a value must be bytes-like, not {type(value).__name__}; encode it first"
            )
        if isinstance(value, memoryview):
            value = value.tobytes()
        if len(value) > self._max_value_bytes:
            raise InvalidValueError(
                f"a value of {len(value):,} bytes is larger than max_value_bytes, {self._max_value_bytes:,}"
            )
        return value

    def _write(self, key: bytes, value: Value, expiry: int, kind: int = _LAST_PUT) -> Write:
        if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
            check_key(key)
        if value.__class__ is not bytes or len(value) > self._max_value_bytes:
            value = self.check_value(value)
        body = record.encode(kind, key, value, expiry)
        first, second = hash_key(key)
        return key, first, second, body, checksum_of(body)

    def put(self, key: bytes, value: Value, ttl: float | None = None) -> None:
        # Written out: through `_write` and its checks a put would cost 10 % more.
        expiry = 0 if ttl is None else expiry_of(ttl)
        if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
            check_key(key)
        if value.__class__ is not bytes or len(value) > self._max_value_bytes:
            value = self.check_value(value)
        body = b"".join((record.pack_body(len(value), len(key), _LAST_PUT, 0, expiry), key, value))
        first, second = hash_key(key)
        self._committed(self._commit_one(key, first, second, body, checksum_of(body)))

    def put_many(self, mapping: Mapping[bytes, Value], ttl: float | None = None) -> None:
        expiry = expiry_of(ttl)
        self._commit_all({key: (self.check_value(value), expiry) for key, value in mapping.items()})

    def add(self, key: bytes, value: Value, ttl: float | None = None) -> bool:
        check_key(key)
        expiry, value = expiry_of(ttl), self.check_value(value)
        return self._update(
            key, lambda found: (None, False) if found else (self._write(key, value, expiry), True)
        )

    def touch(self, key: bytes, ttl: float | None) -> bool:
        expiry = expiry_of(ttl)

        def again(found: Found | None) -> tuple[Write | None, bool]:
            return (self._write(key, found.value(), expiry), True) if found else (None, False)

        return self._update(key, again)

    def incr(self, key: bytes, delta: int = 1) -> int:
        if not isinstance(delta, int) or isinstance(delta, bool):
            raise InvalidValueError(f"delta must be a whole number, not {delta!r}")

        def added(found: Found | None) -> tuple[Write, int]:
            number, digits = add_to_number(found.value() if found else b"0", delta)
            return self._write(key, digits, found.expiry if found else 0), number

        return self._update(key, added)

    def update(self, key: bytes, change: Callable[[bytes], Value]) -> bytes | None:
        def changed(found: Found | None) -> tuple[Write | None, bytes | None]:
            if not found:
                return None, None
            value = bytes(self.check_value(change(found.value())))
            return self._write(key, value, found.expiry), value

        return self._update(key, changed)

    def delete(self, key: bytes) -> bool:
        def gone(found: Found | None) -> tuple[Write | None, bool]:
            if not found:
                return None, False
            return self._write(key, b"", TOMBSTONE_EXPIRY, TOMBSTONE | COMMIT), True

        return self._update(key, gone)

    def _update(self, key: bytes, decide: Callable[[Found | None], tuple[Write | None, T]]) -> T:
        """Commit what `decide` makes of the key's live record, and return its verdict.

        The record is looked up without the lock; with it where somebody else has it, or has had it meanwhile.
        """
        exclusive = self._exclusive
        moment = exclusive.moment()
        if moment:
            write, verdict = decide(self._reader.find_live(self._structure.current(), key))
            if write is None:
                if not self._words[W_BUSY]:  # else a batch may have come in part
                    return verdict
            # Not through `group`: what threads commit together comes after the moment of the lookup.
            elif end := exclusive.commit_one(*write, moment):
                self._committed(end)
                return verdict
        check_key(key)  # not under the lock
        with exclusive as held:
            write, verdict = decide(self._reader.find_live(held.view, key))
            end = exclusive.commit(held, (write,)) if write else 0
        if end:
            self._committed(end)
        return verdict

    def delete_many(self, keys: Iterable[bytes]) -> int:
        wanted = list(keys)
        for key in wanted:
            check_key(key)  # before it is hashed, and before anything is locked
        with self.transaction() as tx:
            return sum([tx.delete(key) for key in set(wanted)])

    def delete_prefix(self, prefix: bytes) -> None:
        check_bounds(prefix=prefix)
        if not prefix:
            self.clear()
            return
        check_key(prefix)
        with self._exclusive as held:
            self._structure.delete_prefix(held, prefix)
            end = self._words[W_TIP]
        self._committed(end)

    def clear(self) -> None:
        with self._exclusive as held:
            self._structure.clear(held)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        end = None
        with self._exclusive as held:
            tx = Transaction(self, self._reader, held)
            try:
                yield tx
            except BaseException:
                self._exclusive.settle()
                raise
            finally:
                tx.open = False
            self._exclusive.check_held()
            if tx.pending:
                end = self._exclusive.commit(held, self._writes(tx.pending))
        if end is not None:
            self._committed(end)

    def _commit_all(self, pending: Mapping[bytes, Pending]) -> None:
        if not pending:
            return
        writes = self._writes(pending)
        with self._exclusive as held:
            end = self._exclusive.commit(held, writes)
        self._committed(end)

    def _writes(self, pending: Mapping[bytes, Pending]) -> list[Write]:
        """Encode a batch; only its last record bears the commit bit."""
        left = len(pending)
        writes = []
        for key, change in pending.items():
            left -= 1
            last = 0 if left else COMMIT
            if change is None:
                writes.append(self._write(key, b"", TOMBSTONE_EXPIRY, TOMBSTONE | last))
            else:
                writes.append(self._write(key, *change, PUT | last))
        return writes


class Transaction:
    """Reads and writes of one thread, with all other writers kept out; one atomic commit at the end.

    Reads see the transaction's own writes. An exception that leaves the `with` block discards them all.
    """

    def __init__(self, writer: Writer, reader: Reader, held: Held) -> None:
        self._writer = writer
        self._reader = reader
        self._view = held.view
        self.pending: dict[bytes, tuple[bytes, int] | None] = {}
        self.open = True

    def _find(self, key: bytes) -> tuple[bytes, int] | None:
        """Return the value and the expiry of `key`, as this transaction sees it."""
        if not self.open:
            raise _ended()
        check_key(key)
        if key in self.pending:
            change = self.pending[key]
            live = change and (not change[1] or change[1] > now_ms())
            return change if live else None
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
        self._set(key, value, expiry_of(ttl))

    def delete(self, key: bytes) -> bool:
        """Delete `key`; return whether it was there."""
        there = key in self
        if there:
            self.pending[key] = None
        return there

    def _set(self, key: bytes, value: Value, expiry: int) -> None:
        if not self.open:
            raise _ended()
        check_key(key)
        self.pending[key] = (bytes(self._writer.check_value(value)), expiry)


def _ended() -> TransactionError:
    return TransactionError("the transaction has ended; open another")


def seconds_left(expiry: int) -> float | None:
    """Return the seconds until `expiry` in milliseconds since the epoch; None for 0, which is never."""
    return max(0.0, expiry / 1000 - now_ms() / 1000) if expiry else None
