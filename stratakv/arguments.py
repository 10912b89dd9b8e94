"""What callers give: paths, keys, bounds and times to live, checked before anything is done."""

from __future__ import annotations

import math
import os
import time
from decimal import Decimal
from numbers import Real
from pathlib import Path

from stratakv.errors import DirectoryError, InvalidKeyError, InvalidTTLError
from stratakv.files import now_ms
from stratakv.options import MAX_KEY_BYTES

Value = bytes | bytearray | memoryview

LONGEST_TTL = 2**53  # seconds, and less than that; 285 million years, and still exact in milliseconds


def check_key(key: bytes) -> bytes:
    """Return `key` as plain `bytes`; raises InvalidKeyError unless it has 1 to 65,535 of them."""
    if not isinstance(key, bytes):
        raise InvalidKeyError(f"a key must be bytes, not {type(key).__name__}{_advice(key)}")
    if key.__class__ is not bytes:  # it may call itself longer or shorter than it is
        key = memoryview(key).tobytes()
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"a key must have 1 to {MAX_KEY_BYTES:,} bytes, not {len(key):,}; hash long ones"
        )
    return key


def check_prefix(prefix: bytes) -> None:
    """Raise InvalidKeyError unless `prefix` is bytes: b"" is that of all keys, and None is a mistake."""
    _check_is_bytes("prefix", prefix)


def check_bounds(**bounds: bytes | None) -> None:
    """Raise InvalidKeyError unless each of a scan's bounds is bytes, or None for none."""
    for name, bound in bounds.items():
        if bound is not None:
            _check_is_bytes(name, bound)


def _check_is_bytes(name: str, given: object) -> None:
    if not isinstance(given, bytes):
        raise InvalidKeyError(f"{name} must be bytes, not {type(given).__name__}{_advice(given)}")


def expiry_of(ttl: float | None) -> int:
    """Return when a `ttl` in seconds ends, in milliseconds since the epoch; 0 for None."""
    if ttl is None:
        return 0
    # Exact types first, as these are all but free; NaN is in no range.
    plain = ttl.__class__ is int or ttl.__class__ is float
    if plain or (isinstance(ttl, int | float) and not isinstance(ttl, bool)):
        if 0 <= ttl < LONGEST_TTL:
            return int((time.time() + ttl) * 1000)
        if ttl >= LONGEST_TTL:
            raise InvalidTTLError(
                "a ttl of so many seconds is too long to be stored; what has none stays for ever"
            )
    elif isinstance(ttl, Real | Decimal) and not isinstance(ttl, bool):  # of numpy, or of a database
        return expiry_of(_as_float(ttl))
    shown = "what has thousands of digits" if isinstance(ttl, int) and -ttl >= LONGEST_TTL else repr(ttl)
    raise InvalidTTLError(f"a ttl must be a number of seconds from 0 on, or None for ever, not {shown}")


def _as_float(number: Real | Decimal) -> float:
    try:
        return float(number)
    except (ValueError, OverflowError):  # a signaling NaN, or what no float can hold
        return math.nan


def seconds_left(expiry: int) -> float | None:
    """Return the seconds until `expiry` in milliseconds since the epoch; None for 0, which is never."""
    return max(0.0, expiry / 1000 - now_ms() / 1000) if expiry else None


def _advice(given: object) -> str:
    return "; encode text yourself" if isinstance(given, str) else ""


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a store; raises DirectoryError for what cannot be one.

    An empty one comes from a variable that is not set, and would be the current directory.
    """
    given = os.fspath(path)
    if not given:
        raise DirectoryError("the path is empty; name the directory of the store")
    if isinstance(given, str) and "\0" in given:
        raise DirectoryError(f"{given!r} cannot be reached: embedded null byte")
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise DirectoryError(
            f"{given!r} cannot be reached: the current directory was removed; name it from the root on"
        ) from None
