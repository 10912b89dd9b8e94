"""Keys and values that follow from numbers, so that millions of them need not be remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256


def key_of(number: int) -> bytes:
    """Return the 64 hexadecimal digits that are the key with this number."""
    return sha256(b"%d" % number).hexdigest().encode()


def keys_of(numbers: Iterable[int]) -> Iterator[bytes]:
    return map(key_of, numbers)


def value_of(key: bytes, value_bytes: int) -> bytes:
    """Return the value of a key, which no other key has where it is as long as a key."""
    return (key * (value_bytes // len(key) + 1))[:value_bytes]
