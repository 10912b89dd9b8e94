"""Times to live, exactly as Django has them; read from the engine, so that no test needs to sleep long."""

from __future__ import annotations

import asyncio
import math
import time
from decimal import Decimal
from typing import Any

import pytest

from stratakv import KeyNotFoundError, Transaction
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache


def ttl(cache: StrataKVCache, key: str, version: int | None = None) -> float | None:
    left: float | None = cache._db.ttl(cache._name(key, version))
    return left


def test_the_default_is_five_minutes(cache: StrataKVCache) -> None:
    cache.set("set", 1)
    cache.add("add", 1)
    cache.set_many({"many": 1})
    cache.set("touch", 1, 1)
    cache.touch("touch")
    assert [ttl(cache, key) for key in ("set", "add", "many", "touch")] == [pytest.approx(300, abs=5)] * 4


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(60, 60), ("60", 60), ("nonsense", 300), (math.nan, 300), (None, None)],
)
def test_timeout_in_the_settings(make_cache: MakeCache, setting: Any, expected: float | None) -> None:
    cache = make_cache(TIMEOUT=setting)
    cache.set("key", 1)
    assert ttl(cache, "key") == (expected and pytest.approx(expected, abs=5))


@pytest.mark.parametrize("name", ["TIMEOUT", "timeout"])
def test_a_fraction_of_a_second_in_the_settings(make_cache: MakeCache, name: str) -> None:
    cache = make_cache(**{name: 0.5})
    cache.set("key", 1)
    left = ttl(cache, "key")
    assert left
    assert 0 < left <= 0.5


def test_an_entry_that_expires_while_it_is_moved_is_missing(
    cache: StrataKVCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(tx: Transaction, key: bytes) -> float | None:
        raise KeyNotFoundError(key)

    cache.set("key", 1)
    monkeypatch.setattr(Transaction, "ttl", expired)
    with pytest.raises(ValueError, match="'key' not found"):
        cache.incr_version("key")
    assert cache.incidents()["write"] == 0


@pytest.mark.parametrize("setting", [0, -1, -0.5])
def test_a_default_of_nothing_keeps_nothing(make_cache: MakeCache, setting: int) -> None:
    cache = make_cache(TIMEOUT=setting)
    cache.set("key", 1)
    cache.set_many({"many": 1})
    assert cache.get_many(["key", "many"]) == {}


def test_none_is_for_ever(cache: StrataKVCache) -> None:
    cache.set("set", 1, None)
    cache.add("add", 1, None)
    cache.set_many({"many": 1}, None)
    cache.set("touch", 1, 1)
    assert cache.touch("touch", None)
    assert [ttl(cache, key) for key in ("set", "add", "many", "touch")] == [None] * 4


TOO_LONG = [math.inf, 1e18, 2**63, 10**400, Decimal("Infinity")]


@pytest.mark.parametrize("timeout", TOO_LONG, ids=lambda value: str(value)[:20])
def test_what_is_too_long_for_the_engine_is_for_ever(cache: StrataKVCache, timeout: Any) -> None:
    cache.set("set", 1, timeout)
    cache.add("add", 1, timeout)
    cache.set_many({"many": 1}, timeout)
    cache.set("touch", 1, 1)
    assert cache.touch("touch", timeout)
    assert cache.get_or_set("made", lambda: 1, timeout) == 1
    assert [ttl(cache, key) for key in ("set", "add", "many", "touch", "made")] == [None] * 5


@pytest.mark.parametrize("setting", [math.inf, 1e18, 2**63])
def test_a_default_that_is_too_long_is_for_ever(make_cache: MakeCache, setting: float) -> None:
    cache = make_cache(TIMEOUT=setting)
    cache.set("key", 1)
    cache.add("added", 1)
    assert (ttl(cache, "key"), ttl(cache, "added")) == (None, None)


def test_true_is_a_second_and_false_is_none(cache: StrataKVCache) -> None:
    cache.set("set", 1, timeout=True)
    cache.set_many({"many": 1}, timeout=True)
    assert all(cache.ttl(key) is not None and cache.ttl(key) <= 1 for key in ("set", "many"))
    cache.set("key", 1)
    cache.set("key", 1, timeout=False)
    assert "key" not in cache


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
class TestNoTime:
    def test_set_removes(self, cache: StrataKVCache, timeout: float) -> None:
        cache.set("key", "old")
        cache.set("key", "new", timeout)
        assert "key" not in cache

    def test_set_many_removes(self, cache: StrataKVCache, timeout: float) -> None:
        cache.set_many({"a": 1, "b": 2})
        assert cache.set_many({"a": 1, "c": 2}, timeout) == []
        assert cache.get_many("abc") == {"b": 2}

    def test_add_tells_whether_it_would_have_been_added(self, cache: StrataKVCache, timeout: float) -> None:
        assert cache.add("key", 1, timeout) is True
        assert cache.get("key") is None
        cache.set("key", 2)
        assert cache.add("key", 3, timeout) is False
        assert cache.get("key") == 2

    def test_touch_removes(self, cache: StrataKVCache, timeout: float) -> None:
        cache.set("key", 1)
        assert cache.touch("key", timeout) is True
        assert cache.get("key") is None
        assert cache.touch("key", timeout) is False


def test_fractions_of_a_second_count(cache: StrataKVCache) -> None:
    cache.set("key", 1, 0.2)
    assert cache.get("key") == 1
    time.sleep(0.25)
    assert cache.get("key") is None
    assert not cache.has_key("key")
    assert cache.touch("key") is False
    assert cache.add("key", 2) is True


def test_a_counter_keeps_its_time(cache: StrataKVCache) -> None:
    cache.set("key", 1, 50)
    cache.incr("key")
    cache.decr("key", 5)
    assert cache.get("key") == -3
    assert ttl(cache, "key") == pytest.approx(50, abs=5)


def test_a_moved_version_keeps_its_time(cache: StrataKVCache) -> None:
    cache.set("key", [1], 50)
    cache.set("for ever", [1], None)
    assert cache.incr_version("key") == 2
    assert cache.incr_version("for ever", 2) == 3
    assert ttl(cache, "key", 2) == pytest.approx(50, abs=5)
    assert ttl(cache, "for ever", 3) is None


def test_a_moved_version_is_signed_anew_and_gone_from_the_old_place(cache: StrataKVCache) -> None:
    cache.set_many({"pickled": {"a": 1}, "plain": "text"}, version=5)
    for key, value in {"pickled": {"a": 1}, "plain": "text"}.items():
        assert cache.decr_version(key, version=5) == 4
        assert cache.get(key, version=4) == value
        assert cache.get(key, version=5) is None
    assert cache.incidents()["value"] == 0


def test_moving_to_the_same_version_loses_nothing(cache: StrataKVCache) -> None:
    cache.set("key", 1)
    assert cache.incr_version("key", 0) == 1
    assert cache.get("key") == 1


@pytest.mark.parametrize("method", ["incr", "decr", "incr_version", "decr_version"])
def test_what_is_missing_has_no_number_and_no_version(cache: StrataKVCache, method: str) -> None:
    with pytest.raises(ValueError, match="'key' not found"):
        getattr(cache, method)("key")


def test_bools_and_floats_count_as_in_python(cache: StrataKVCache) -> None:
    cache.set_many({"bool": True, "float": 0.5})
    assert cache.incr("bool") == 2
    assert cache.incr("float") == 1.5
    assert cache.get("float") == 1.5


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("timeout", ["5", [], math.nan])
def test_a_timeout_that_is_no_number_is_an_error_even_if_not_strict(
    make_cache: MakeCache, strict: bool, timeout: Any
) -> None:
    cache = make_cache(OPTIONS={"strict": strict})
    with pytest.raises((TypeError, ValueError)):
        cache.set("key", 1, timeout)
    with pytest.raises((TypeError, ValueError)):
        cache.set_many({"key": 1}, timeout)


def test_ttl_tells_what_is_left(cache: StrataKVCache) -> None:
    cache.set_many({"short": 1}, 100)
    cache.set("ever", 1, None)
    assert cache.ttl("short") == pytest.approx(100, abs=60)
    assert cache.ttl("ever") is None
    assert cache.ttl("absent") == 0
    assert asyncio.run(cache.attl("ever")) is None
