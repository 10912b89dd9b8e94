"""Values of the Django cache: what is stored is decoded or refused, and nothing unsigned is unpickled."""

from __future__ import annotations

import pickle
from contextlib import suppress

from django.conf import settings

if not settings.configured:
    settings.configure(SECRET_KEY="fuzz", SECRET_KEY_FALLBACKS=["older"])

from stratakv_django import codec
from stratakv_django.codec import UndecodableValueError

_NAME = b"1:p:1:key"
_SIGNED = codec.encode(_NAME, ["signed", 1])


def run(data: bytes) -> None:
    with suppress(UndecodableValueError):
        value = codec.decode(_NAME, data)
        assert data[:1] != b"p" or data == _SIGNED, "a pickle that nobody signed"
        assert codec.decode(_NAME, codec.encode(_NAME, value)) == value or value != value
    with suppress(UndecodableValueError):
        assert codec.rename(data, _NAME, b"other") == data or data == _SIGNED
    number = int.from_bytes(data, "little", signed=True)
    for value in (data, data.decode("latin-1"), data.decode("utf-8", "surrogateescape"), number):
        assert codec.decode(_NAME, codec.encode(_NAME, value)) == value
    _refused(_NAME, b"p" + data[:16].ljust(16, b"\0") + _ARMED)
    _refused(b"1:p:1:" + data + b"other", _SIGNED)
    changed = bytes(a ^ b for a, b in zip(_SIGNED[1:], data.ljust(len(_SIGNED), b"\0"), strict=False))
    if changed != _SIGNED[1:]:
        _refused(_NAME, b"p" + changed)


def _fire() -> None:
    raise SystemExit("unpickled")


class _Armed:
    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _fire, ()


_ARMED = pickle.dumps(_Armed())


def _refused(name: bytes, stored: bytes) -> None:
    try:
        codec.decode(name, stored)
    except UndecodableValueError:
        return
    raise AssertionError("a value was believed that nobody signed")
