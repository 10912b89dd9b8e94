"""Cache values as bytes, and back.

A stored value is one tag byte and a body:

    tag  value                    body
    s    str                      UTF-8
    h    SafeString               UTF-8
    b    bytes                    as it is
    i    int (not bool)           decimal text
    f    float                    IEEE 754 double, little-endian
    n    None                     empty
    t/u  True / False             empty
    p    everything else          16 bytes of signature, then a pickle (protocol 5)

Tags are on disk: add new ones, never give one another meaning. Only exact types have a tag of their own, so
a subclass comes back as what it was.

The signature is keyed BLAKE2b-128 over the length of the engine key (u32, little-endian), the engine key
and the pickle. Its key is derived from SECRET_KEY; SECRET_KEY_FALLBACKS are accepted when reading. As it
covers the engine key, a pickle copied from one key to another is refused, not only one that was planted.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable
from functools import cache
from hmac import compare_digest
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.encoding import force_bytes
from django.utils.safestring import SafeString

from stratakv_django.interruptions import is_from_a_signal

TEXT = b"s"  # a str, in UTF-8
_STR, _BYTES, _PICKLE = b"sbp"  # the tags that are compared by number
_SIGNATURE_BYTES = 16
_BODY = 1 + _SIGNATURE_BYTES  # where a pickle begins
_PICKLE_PROTOCOL = 5
_TEXT_INT_BITS = 1024  # beyond, decimal text is slow, and Python refuses to parse it from 4,300 digits on
_double = struct.Struct("<d")


class UndecodableValueError(Exception):
    """A stored value is not what this site wrote: unknown tag, wrong signature, or it does not unpickle."""


def encode(name: bytes, value: Any) -> bytes:
    """Return `value` as stored under the engine key `name`; raises whatever pickling `value` raises."""
    kind = type(value)
    try:
        if kind is str:
            return TEXT + value.encode()  # type: ignore[no-any-return]
        if kind is bytes:
            return b"b" + value  # type: ignore[no-any-return]
        write = _WRITERS.get(kind)
        return (write and write(value)) or _pickled(name, value)
    except UnicodeEncodeError:  # a lone surrogate is no UTF-8, but it can be pickled
        return _pickled(name, value)


def decode(name: bytes, stored: bytes) -> Any:
    """Return the value that `encode` turned into `stored` under `name`; raises UndecodableValueError.

    And SynchronousOnlyOperation where unpickling asks the database on the thread of an event loop,
    ImproperlyConfigured where SECRET_KEY is missing or SECRET_KEY_FALLBACKS are no list, and what a signal
    handler raises meanwhile.
    """
    try:
        tag = stored[0]
        if tag == _STR:
            return stored[1:].decode()
        if tag == _BYTES:
            return stored[1:]
        if tag == _PICKLE:
            return pickle.loads(_verified(name, stored))
        return _READERS[tag](stored[1:])
    # The value is sound, and its place or the settings are wrong, or memory is short.
    except (UndecodableValueError, SynchronousOnlyOperation, ImproperlyConfigured, MemoryError):
        raise
    except Exception as error:  # unpickling runs the site's own classes, which may raise anything
        if is_from_a_signal(error):
            raise
        raise UndecodableValueError(f"{type(error).__name__}: {error}") from error


def rename(stored: bytes, old: bytes, new: bytes) -> bytes:
    """Return `stored`, read under `old`, as it must be stored under `new`; raises UndecodableValueError."""
    return _signed(new, _verified(old, stored)) if stored[:1] == b"p" else stored


def _int(value: int) -> bytes | None:
    return b"i%d" % value if value.bit_length() <= _TEXT_INT_BITS else None


_WRITERS: dict[type, Callable[[Any], bytes | None]] = {
    SafeString: lambda value: b"h" + value.encode(),
    int: _int,
    float: lambda value: b"f" + _double.pack(value),
    type(None): lambda value: b"n",
    bool: lambda value: b"t" if value else b"u",
}
_READERS: dict[int, Callable[[bytes], Any]] = {
    ord("h"): lambda body: SafeString(body.decode()),
    ord("i"): int,
    ord("f"): lambda body: _double.unpack(body)[0],
    ord("n"): lambda body: None,
    ord("t"): lambda body: True,
    ord("u"): lambda body: False,
}


def _pickled(name: bytes, value: Any) -> bytes:
    return _signed(name, pickle.dumps(value, _PICKLE_PROTOCOL))


def _signed(name: bytes, pickled: bytes | memoryview) -> bytes:
    return b"".join((b"p", _signature(_signers()[0], name, pickled), pickled))


def _verified(name: bytes, stored: bytes) -> memoryview:
    """Return the pickle inside `stored`, once one of the site's keys is seen to have signed it."""
    pickled = memoryview(stored)[_BODY:]
    for signer in _signers():
        if compare_digest(_signature(signer, name, pickled), stored[1:_BODY]):
            return pickled
    raise UndecodableValueError("the signature does not match: another SECRET_KEY, another key, or planted")


def _signature(signer: hashlib.blake2b, name: bytes, pickled: bytes | memoryview) -> bytes:
    digest = signer.copy()
    digest.update(len(name).to_bytes(4, "little") + name)
    digest.update(pickled)
    return digest.digest()


@cache  # asking the settings each time would be a tenth of decoding a small object
def _signers() -> tuple[hashlib.blake2b, ...]:
    """Return a keyed hash for each of the site's secrets, the current one first; or ImproperlyConfigured.

    The letters of a text would each be a secret, which anybody can guess.
    """
    fallbacks = settings.SECRET_KEY_FALLBACKS
    if not isinstance(fallbacks, list | tuple):
        kind = type(fallbacks).__name__
        raise ImproperlyConfigured(f"SECRET_KEY_FALLBACKS must be a list of secrets, not of the type {kind}")
    return tuple(_signer(secret) for secret in (settings.SECRET_KEY, *fallbacks))


def _signer(secret: str | bytes) -> hashlib.blake2b:
    """Return a hash keyed with what follows from `secret`, to be copied and never updated."""
    key = hashlib.blake2b(force_bytes(secret), person=b"stratakv.key").digest()
    return hashlib.blake2b(key=key, digest_size=_SIGNATURE_BYTES, person=b"stratakv.pickle")


@receiver(setting_changed)
def _forget_signers(*, setting: str, **kwargs: Any) -> None:
    """In tests, settings may change while the process runs."""
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _signers.cache_clear()
