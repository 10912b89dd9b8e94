"""The operations that write: what can be done before the writer lock is taken is, then follows one commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from stratakv import record
from stratakv.arguments import Value, check_key, check_prefix, expiry_of
from stratakv.commit import Committer, Write
from stratakv.control import W_BUSY, W_TIP
from stratakv.errors import InvalidValueError
from stratakv.index import hash_key
from stratakv.lookup import Found
from stratakv.options import MAX_KEY_BYTES
from stratakv.reader import Reader
from stratakv.record import COMMIT, PUT, TOMBSTONE, TOMBSTONE_EXPIRY, checksum_of
from stratakv.structure import Structure
from stratakv.sync import Syncer
from stratakv.transaction import Pending, Transaction

T = TypeVar("T")

_NUMBER = re.compile(rb"[+-]?[0-9]+")
_LAST_PUT = PUT | COMMIT  # a put that is a commit of its own


def add_to_number(value: bytes, delta: int) -> tuple[int, bytes]:
    """Return the decimal number in `value` plus `delta`, and its digits; raises InvalidValueError."""
    try:
        if not _NUMBER.fullmatch(value):  # `int` takes blanks and underscores as well
            raise ValueError
        number = int(value) + delta
    except ValueError:
        raise InvalidValueError("incr needs a whole number in decimal digits; the value is none") from None
    try:
        return number, b"%d" % number
    except ValueError as cause:
        raise InvalidValueError(f"the sum is too large: {cause}") from None


class Writer:
    """The writes of one process.

    commit_one: commits a single record, as that of `committer` does. committed: told the position behind each
    commit, the lock released; `put` does not where a thread of `syncer` sees to it.
    """

    def __init__(
        self,
        structure: Structure,
        reader: Reader,
        committer: Committer,
        max_value_bytes: int,
        commit_one: Callable[[bytes, int, int, bytes, int], int],
        committed: Callable[[int], None],
        syncer: Syncer,
    ) -> None:
        self._structure = structure
        self._words = structure.control.words
        self._reader = reader
        self._committer = committer
        self._max_value_bytes = max_value_bytes
        self._commit_one = commit_one
        self._committed = committed
        self._syncer = syncer

    def check_value(self, value: Value) -> bytes:
        """Return a copy of `value`, of which nobody else can change the length; raises InvalidValueError."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidValueError(
                f"a value must be bytes, a bytearray or a memoryview, not {type(value).__name__}"
            )
        if value.__class__ is bytearray:
            value = bytes(value)  # not by a view: another thread that resizes it meanwhile would fail
        elif value.__class__ is not bytes:  # a subclass may call itself longer or shorter than it is
            try:
                value = memoryview(value).tobytes()
            except ValueError as cause:
                raise InvalidValueError(f"the value is a memoryview that was released: {cause}") from None
        if len(value) > self._max_value_bytes:
            raise InvalidValueError(
                f"a value of {len(value):,} bytes is larger than max_value_bytes, {self._max_value_bytes:,}; "
                "raise that option, or store less at once"
            )
        return value

    def _write(self, key: bytes, value: Value, expiry: int, kind: int = _LAST_PUT) -> Write:
        if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
            key = check_key(key)
        if value.__class__ is not bytes or len(value) > self._max_value_bytes:
            value = self.check_value(value)
        body = record.encode(kind, key, value, expiry)
        first, second = hash_key(key)
        return key, first, second, body, checksum_of(body)

    def put(self, key: bytes, value: Value, ttl: float | None = None) -> None:
        # Written out: through `_write` and its checks a put would cost 10 % more, and 2 % if it always told.
        expiry = 0 if ttl is None else expiry_of(ttl)
        if key.__class__ is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
            key = check_key(key)
        if value.__class__ is not bytes or len(value) > self._max_value_bytes:
            value = self.check_value(value)
        body = b"".join((record.pack_body(len(value), len(key), _LAST_PUT, 0, expiry), key, value))
        first, second = hash_key(key)
        end = self._commit_one(key, first, second, body, checksum_of(body))
        if self._syncer.thread is None:
            self._committed(end)

    def put_many(self, mapping: Mapping[bytes, Value], ttl: float | None = None) -> None:
        expiry = expiry_of(ttl)
        if not hasattr(mapping, "items"):
            raise InvalidValueError(
                f"put_many needs a mapping of keys to values, not {type(mapping).__name__}; "
                "make a dict of pairs"
            )
        writes = self._writes({key: (value, expiry) for key, value in mapping.items()})
        if not writes:
            return
        with self._committer.hold() as held:
            end = self._committer.commit(held, writes)
        self._committed(end)

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
            value = self.check_value(change(found.value()))
            return self._write(key, value, found.expiry), value

        return self._update(key, changed)

    def delete(self, key: bytes) -> bool:
        def gone(found: Found | None) -> tuple[Write | None, bool]:
            if not found and not self._reader.is_lost(self._structure.current(), key):
                return None, False
            return self._write(key, b"", TOMBSTONE_EXPIRY, TOMBSTONE | COMMIT), found is not None

        return self._update(key, gone)

    def _update(self, key: bytes, decide: Callable[[Found | None], tuple[Write | None, T]]) -> T:
        """Commit what `decide` makes of the key's live record, and return its verdict.

        The record is looked up without the lock; with it where somebody else has it, or has had it meanwhile.
        """
        committer = self._committer
        moment = committer.moment()
        if moment:
            write, verdict = decide(self._reader.find_live(self._structure.current(), key))
            if write is None:
                if not self._words[W_BUSY]:  # else a batch may have come in part
                    return verdict
            # Not through `group`: what threads commit together comes after the moment of the lookup.
            elif end := committer.commit_one(*write, moment):
                self._committed(end)
                return verdict
        check_key(key)  # not under the lock
        with committer.hold() as held:
            try:
                write, verdict = decide(self._reader.find_live(held.view, key))
            except BaseException:
                committer.settle()
                raise
            end = committer.commit(held, (write,)) if write else 0
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
        check_prefix(prefix)
        if not prefix:
            self.clear()
            return
        check_key(prefix)
        with self._committer.hold() as held:
            self._structure.delete_prefix(held, prefix)
            end = self._words[W_TIP]
        self._committed(end)

    def clear(self) -> None:
        with self._committer.hold() as held:
            self._structure.clear(held)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        end = None
        with self._committer.hold() as held:
            tx = Transaction(self.check_value, self._reader, held.view)
            try:
                yield tx
            except BaseException:
                self._committer.settle()
                raise
            finally:
                tx.open = False
            self._committer.check_held()
            if tx.pending:
                end = self._committer.commit(held, self._writes(tx.pending))
        if end is not None:
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
