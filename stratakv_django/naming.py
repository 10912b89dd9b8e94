"""Engine keys: the namespace of a KEY_PREFIX, then the key that Django made.

    key    = length of the prefix in decimal · ":" · prefix · made key           all text in UTF-8
    long   = length of the prefix in decimal · ":" · prefix · 0xFF · BLAKE2b-256 of the key it stands for

    flight = "flight:" · BLAKE2b-256 of the key        of the lock that `get_or_set` holds; not of an entry

No namespace is the beginning of another, whatever the prefixes are. Lone surrogates are encoded as if they
were characters. Neither form is ever the other: UTF-8 has no byte 0xFF.
"""

from __future__ import annotations

import hashlib

MAX_KEY_BYTES = 65_535  # the engine's limit, fixed by its record format


def namespace(key_prefix: str) -> bytes:
    """Return what all engine keys of `key_prefix` begin with, and no others."""
    prefix = utf8(key_prefix)
    return b"%d:%b" % (len(prefix), prefix)


def utf8(text: str) -> bytes:
    """Return `text`, of any content, as bytes that no other text has."""
    return text.encode("utf-8", "surrogatepass")


def text(data: bytes) -> str:
    """Return the text that `utf8` has made into `data`."""
    return data.decode("utf-8", "surrogatepass")


def made_key(name: bytes) -> str:
    """Return the key that Django made of prefix, version and key, for people: what is no text is escaped."""
    length, _, rest = name.partition(b":")
    return rest[int(length) :].decode("utf-8", "backslashreplace")


def long_name(namespace: bytes, name: bytes) -> bytes:
    """Return the engine key that stands for `name`, which is too long to be one."""
    return namespace + b"\xff" + hashlib.blake2b(name, digest_size=32).digest()


def of_flight(name: bytes) -> bytes:
    """Return the name of the lock on making the entry `name`, which is not that of a lock on the entry."""
    return b"flight:" + hashlib.blake2b(name, digest_size=32).digest()
