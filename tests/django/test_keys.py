"""Keys of any length and content are apart from each other, and aliases are apart from each other."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.base import CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured

import stratakv
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

ODD_KEYS = [
    "",
    " ",
    "a b",
    "\x00",
    "\n",
    "a:1:b",
    "é",
    "\ud800",
    "k" * 251,
    "k" * 65_600,
    "k" * 65_599 + "x",
    7,
    ("a", 1),
    None,
    b"bytes",
]


@pytest.mark.parametrize(("prefix", "key"), [("", b"0::1:user:7"), ("site", b"4:sitesite:1:user:7")])
def test_a_key_as_the_shell_sees_it(make_cache: MakeCache, prefix: str, key: bytes) -> None:
    """docs/django.md says so."""
    cache = make_cache(KEY_PREFIX=prefix)
    cache.set("user:7", 1)
    assert list(cache._db.keys()) == [key]


def custom_key(key: str, key_prefix: str, version: int) -> str:
    return f"{version}/{key_prefix}/{key}"


class Shouting(StrataKVCache):
    """A subclass with its own way to make keys."""

    def make_key(self, key: Any, version: int | None = None) -> str:
        return super().make_key(str(key).upper(), version)


class Refusing(StrataKVCache):
    """A subclass with its own idea of a valid key."""

    def validate_key(self, key: Any) -> None:
        raise ValueError(key)


@pytest.mark.parametrize("version", [None, 2])
def test_odd_keys_are_kept_apart_and_cause_no_warning(cache: StrataKVCache, version: int | None) -> None:
    with warnings.catch_warnings(action="error"):
        for number, key in enumerate(ODD_KEYS):
            cache.set(key, number, version=version)
    assert [cache.get(key, version=version) for key in ODD_KEYS] == list(range(len(ODD_KEYS)))
    assert cache.get_many(ODD_KEYS, version=version) == {key: n for n, key in enumerate(ODD_KEYS)}


def test_a_key_is_the_same_with_its_version_given_or_not(cache: StrataKVCache) -> None:
    for key in ODD_KEYS:
        cache.set(key, "value")
        assert cache.get(key, version=1) == "value"


def test_an_equal_text_is_the_same_key_as_in_django(cache: StrataKVCache) -> None:
    cache.set(7, "seven")
    assert cache.get("7") == "seven"


def test_warnings_come_on_request(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"key_warnings": True})
    with pytest.warns(CacheKeyWarning, match="memcached"):
        cache.set("a b", 1)
    with pytest.warns(CacheKeyWarning, match="longer than 250"):
        cache.get("k" * 251)


def test_a_key_function_is_used(make_cache: MakeCache) -> None:
    cache = make_cache(KEY_FUNCTION=custom_key, KEY_PREFIX="p")
    cache.set("key", 1)
    assert cache._name("key", None).endswith(b"1/p/key")
    assert cache.get("key") == 1


def test_a_key_function_given_later_is_used(cache: StrataKVCache) -> None:
    cache.key_func = custom_key
    assert cache._name("key", None).endswith(b"1//key")


def test_a_subclass_that_makes_keys_is_asked(make_cache: MakeCache) -> None:
    cache = make_cache(Shouting)
    cache.set("key", 1)
    assert cache.get("KEY") == 1


def test_a_subclass_that_validates_keys_is_asked(make_cache: MakeCache) -> None:
    with pytest.raises(ValueError, match=":1:key"):
        make_cache(Refusing).get("key")


PREFIXES = ["", "a", "a:1", "ab", "1:", "0:", "\x00", "é", "3:a:1"]


@pytest.mark.parametrize("cleared", PREFIXES)
def test_clear_empties_one_prefix_in_all_versions_and_no_other(make_cache: MakeCache, cleared: str) -> None:
    caches = {prefix: make_cache(KEY_PREFIX=prefix) for prefix in PREFIXES}
    long_key = "k" * 70_000
    for prefix, each in caches.items():
        each.set("key", prefix)
        each.set("key", prefix, version=2)
        each.set(long_key, prefix)
    caches[cleared].clear()
    for prefix, each in caches.items():
        expected = None if prefix == cleared else prefix
        assert [each.get("key"), each.get("key", version=2), each.get(long_key)] == [expected] * 3


def test_clear_leaves_what_others_keep_in_the_store(cache: StrataKVCache) -> None:
    cache._db.put(b"not of Django", b"value")
    cache.set("key", 1)
    cache.clear()
    assert list(cache._db.keys()) == [b"not of Django"]


def test_aliases_of_one_prefix_share_their_entries(make_cache: MakeCache) -> None:
    make_cache(KEY_PREFIX="p", VERSION=2).set("key", "value")
    assert make_cache(KEY_PREFIX="p").get("key", version=2) == "value"
    assert make_cache(KEY_PREFIX="p").get("key") is None


class TestPrefixes:
    def test_it_removes_what_begins_so_in_one_version(self, make_cache: MakeCache) -> None:
        cache, other = make_cache(), make_cache(KEY_PREFIX="other")
        for each in (cache, other):
            each.set_many({"user:1:a": 1, "user:1:b": 2, "user:10": 3, "page": 4})
        cache.set("user:1:a", 5, version=2)
        cache.delete_prefix("user:1:")
        assert cache.get_many(["user:1:a", "user:1:b", "user:10", "page"]) == {"user:10": 3, "page": 4}
        assert cache.get("user:1:a", version=2) == 5
        assert other.get("user:1:a") == 1
        cache.set("user:1:a", 6)
        assert cache.get("user:1:a") == 6
        cache.delete_prefix("", version=2)
        assert cache.get("user:1:a", version=2) is None
        assert cache.get("user:10") == 3

    def test_it_makes_room(self, make_cache: MakeCache) -> None:
        cache = make_cache(OPTIONS={"MAX_ENTRIES": 10})
        cache.set_many({f"a{number}": number for number in range(10)})
        cache.delete_prefix("a")
        cache.set_many({f"b{number}": number for number in range(10)})
        assert len(cache.get_many([f"b{number}" for number in range(10)])) == 10

    def test_the_keys_are_those_that_were_given(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        given = ["user:1", "user:2", "page ü", "\ud800", "user:" + "x" * 60_000]
        for key in given:
            cache.set(key, 1)
        cache.set("gone", 1)
        cache.delete("gone")
        cache.set("user:3", 1, version=2)
        make_cache(KEY_PREFIX="other").set("user:4", 1)
        assert list(cache.iter_keys()) == given
        assert list(cache.iter_keys("user:")) == ["user:1", "user:2", given[-1]]
        assert list(cache.iter_keys(version=2)) == ["user:3"]

    def test_keys_of_a_store_that_does_not_open_are_none(self, make_cache: MakeCache, store: Path) -> None:
        store.write_text("a file")
        tolerant = make_cache(OPTIONS={"strict": False})
        assert list(tolerant.iter_keys()) == []
        assert tolerant.incidents()["read"] == 1
        with pytest.raises(stratakv.StrataKVError):
            list(make_cache().iter_keys())

    def test_keys_that_are_made_in_another_way_have_no_prefix(self, make_cache: MakeCache) -> None:
        class Own(StrataKVCache):
            def make_key(self, key: Any, version: int | None = None) -> str:
                return f"own:{key}"

        for cache in (make_cache(KEY_FUNCTION=lambda key, prefix, version: key[::-1]), Own("x", {})):
            with pytest.raises(ImproperlyConfigured, match="no KEY_FUNCTION"):
                cache.delete_prefix("a")
            with pytest.raises(ImproperlyConfigured, match="no KEY_FUNCTION"):
                cache.iter_keys("a")

    def test_a_prefix_is_text(self, cache: StrataKVCache) -> None:
        with pytest.raises(TypeError, match="must be text, not int"):
            cache.delete_prefix(1)  # type: ignore[arg-type]
