"""A value that somebody else put into the store: it may be seen for what it is, and never runs code."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from stratakv_django import codec
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

FIRED = []


class Armed:
    """Whoever unpickles it, fires it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return FIRED.append, ("unpickled",)


@pytest.fixture(autouse=True)
def nothing_fires() -> Any:
    FIRED.clear()
    yield
    assert not FIRED


def stored(cache: StrataKVCache, key: str, version: int | None = None) -> bytes:
    found: bytes = cache._db.get(cache._name(key, version))
    return found


def plant(cache: StrataKVCache, key: str, value: bytes, version: int | None = None) -> None:
    cache._db.put(cache._name(key, version), value)


def is_refused(cache: StrataKVCache, key: str, version: int | None = None) -> bool:
    """By each way of reading; a value that is refused is a miss, and `add` may fill its place."""
    missing = object()
    found = [
        cache.get(key, missing, version=version),
        cache.get_many([key], version=version).get(key, missing),
    ]
    return found == [missing, missing]


ARMED = pickle.dumps(Armed())


@pytest.mark.parametrize(
    "value",
    [
        b"p" + ARMED,
        b"p" + bytes(16) + ARMED,
        b"p" + codec._signature(codec._signer("another site"), b"0::1:key", ARMED) + ARMED,
        ARMED,
        b"",
        b"p",
        b"p" + bytes(15),
        b"p" + bytes(16),
    ],
    ids=lambda value: f"{value[:1]!r}-{len(value)}",
)
def test_a_pickle_that_this_site_did_not_sign(cache: StrataKVCache, value: bytes) -> None:
    plant(cache, "key", value)
    assert is_refused(cache, "key")
    with pytest.raises(ValueError, match="key"):
        cache.incr("key")
    assert cache.add("key", "mine")
    assert cache.get("key") == "mine"


def test_another_sites_key(make_cache: MakeCache) -> None:
    cache = make_cache()
    with override_settings(SECRET_KEY="of another site"):
        cache.set("key", ["theirs"])
        assert cache.get("key") == ["theirs"]
    assert is_refused(cache, "key")


def test_without_a_key_of_its_own_a_process_removes_nothing(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("key", ["mine"])
    with override_settings(SECRET_KEY=""), pytest.raises(ImproperlyConfigured):
        cache.get("key")
    assert cache.get("key") == ["mine"]


@pytest.mark.parametrize("fallbacks", [None, "old secret", 7])
def test_wrong_fallbacks_are_raised_and_remove_nothing(make_cache: MakeCache, fallbacks: Any) -> None:
    cache = make_cache(OPTIONS={"strict": False})
    cache.set_many({"key": ["mine"], "number": 10**400})
    with override_settings(SECRET_KEY_FALLBACKS=fallbacks):
        for call in (cache.get, cache.incr, cache.incr_version, lambda key: cache.get_many([key])):
            with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FALLBACKS must be a list"):
                call("number")
        with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FALLBACKS must be a list"):
            cache.set("key", ["other"])
    assert cache.get_many(["key", "number"]) == {"key": ["mine"], "number": 10**400}
    assert cache.incidents()["value"] == 0


@pytest.mark.parametrize(
    ("to", "key", "version"),
    [
        ({}, "other", 1),
        ({}, "key", 2),
        ({"KEY_PREFIX": "other"}, "key", 1),
        ({"KEY_PREFIX": "p"}, "1:key", 1),
    ],
    ids=["another key", "another version", "another prefix", "a prefix that makes the same text"],
)
def test_a_signed_value_in_another_place(
    make_cache: MakeCache, to: dict[str, Any], key: str, version: int
) -> None:
    source, target = make_cache(), make_cache(**to)
    source.set("key", ["value"])
    plant(target, key, stored(source, "key"), version)
    assert is_refused(target, key, version)
    assert source.get("key") == ["value"]


def test_no_other_tag_makes_a_pickle_run(cache: StrataKVCache) -> None:
    """What is behind the tag is then text, bytes or a number, or nothing at all."""
    cache.set("key", ["value"])
    signed = stored(cache, "key")
    for tag in range(256):
        for body in (signed[1:], signed[17:], ARMED):
            if bytes([tag]) + body == signed:
                continue
            plant(cache, "key", bytes([tag]) + body)
            value = cache.get("key")
            assert value is None or type(value) in (bool, bytes, str, float)


def test_a_signature_ends_with_the_pickle(cache: StrataKVCache) -> None:
    cache.set("key", ["value"])
    signed = stored(cache, "key")
    for changed in (
        signed + b"more",
        signed[:-1],
        signed[:17] + ARMED,
        signed[:1] + signed[17:] + signed[1:17],
    ):
        plant(cache, "key", changed)
        assert is_refused(cache, "key")


@pytest.mark.parametrize("body", [b"9" * 5000, b"1_0" * 5000, b"\xff" * 10, b"0x10", b"1e9", b"nan", b""])
def test_a_number_that_is_none(cache: StrataKVCache, body: bytes) -> None:
    plant(cache, "key", b"i" + body)
    assert is_refused(cache, "key")
