"""max_bytes: kept with and without maintenance in the background, set by the settings alone; large values."""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

import stratakv
from stratakv_django import handles
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache, keepers
from tests.support.waiting import wait_until

BUDGET = 2**20
LIMITED = {"max_bytes": BUDGET}
LENIENT = {**LIMITED, "strict": False}
TOO_LARGE = "x" * (BUDGET // 4)  # and the key
VALUE = "v" * 1000


def fill(cache: StrataKVCache, size: int, start: int = 0) -> None:
    for number in range(start, start + size // len(VALUE)):
        cache.set(f"key {number}", VALUE)


# -- the settings --------------------------------------------------------------------------------------


def test_without_a_budget_nothing_is_evicted(cache: StrataKVCache) -> None:
    fill(cache, 3 * BUDGET)
    assert (cache.stats().max_bytes, cache.stats().evicted_keys) == (0, 0)
    assert cache.get("key 0") == VALUE


@pytest.mark.parametrize("options", [{}, {"max_bytes": None}, {"max_bytes": 0}], ids=str)
def test_a_budget_that_leaves_the_settings_is_lifted(make_cache: MakeCache, options: dict[str, Any]) -> None:
    limited = make_cache(OPTIONS=LIMITED)
    assert limited.stats().max_bytes == BUDGET
    handles.close_all()
    assert make_cache(OPTIONS=options).stats().max_bytes == 0


def test_a_budget_that_comes_into_the_settings_is_kept_from_then_on(
    make_cache: MakeCache, cache: StrataKVCache
) -> None:
    cache.set("before", 1)
    handles.close_all()
    assert make_cache(OPTIONS=LIMITED).stats().max_bytes == BUDGET
    assert make_cache(OPTIONS=LIMITED).get("before") == 1


# -- keeping it ----------------------------------------------------------------------------------------


def test_the_budget_is_kept_without_maintenance_and_by_the_command(
    make_cache: MakeCache, store: Path
) -> None:
    cache = make_cache(OPTIONS=LIMITED)
    for part in range(5):
        fill(cache, BUDGET, start=part * 2000)
        assert cache.stats().disk_bytes <= BUDGET * 1.1
    assert cache.stats().evicted_keys > 3000
    last = f"key {4 * 2000 + BUDGET // len(VALUE) - 1}"
    assert cache.get(last) == VALUE
    handles.close_all()
    settings = {"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": str(store)}
    with override_settings(CACHES={"default": {**settings, "OPTIONS": LIMITED}}):
        call_command("stratakv_compact", "--format", "json")
    assert cache.stats().max_bytes == BUDGET
    assert cache.stats().disk_bytes <= BUDGET
    assert cache.get(last) == VALUE


def test_the_budget_is_kept_by_a_process_in_the_background(make_cache: MakeCache, store: Path) -> None:
    cache = make_cache(OPTIONS={**LIMITED, "maintenance": "auto"})
    for part in range(5):
        fill(cache, BUDGET, start=part * 2000)
        assert cache.stats().disk_bytes <= BUDGET * 1.1
    wait_until(lambda: keepers(store))
    wait_until(lambda: "main" in [segment.kind for segment in cache.stats().segments])
    wait_until(lambda: cache.stats().disk_bytes <= BUDGET)
    assert cache.get(f"key {4 * 2000 + BUDGET // len(VALUE) - 1}") == VALUE
    handles.close_all()
    assert not keepers(store)


def test_the_limit_of_entries_is_kept_as_well(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={**LIMITED, "MAX_ENTRIES": 100})
    fill(cache, 300 * len(VALUE))
    assert 0 < len(list(cache._db.keys())) <= 100
    large = "x" * (BUDGET // 10)  # a hundred of these are ten times the budget
    for number in range(60):
        cache.set(f"large {number}", large)
    assert len(list(cache._db.keys())) <= 100
    assert cache.stats().disk_bytes <= BUDGET * 1.1
    assert cache.get("large 59") == large


def test_clearing_takes_no_longer_and_no_more_space_for_many_entries(make_cache: MakeCache) -> None:
    cache, other = make_cache(KEY_PREFIX="cleared"), make_cache(KEY_PREFIX="other")
    other.set("key", "kept")
    fill(cache, 2 * BUDGET)
    before = cache.stats()
    cache.clear()
    after = cache.stats()
    assert cache.get_many([f"key {number}" for number in range(2000)]) == {}
    assert list(cache._db.keys()) == [other._name("key", None)]
    assert after.bytes_written - before.bytes_written < 1000
    cache.set("key 0", "new")
    cache._db.compact()
    assert cache.stats().log_bytes < 2000
    assert (cache.get("key 0"), other.get("key")) == ("new", "kept")


def test_what_was_cleared_is_given_back_in_the_background(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"maintenance": "auto", "segment_bytes": BUDGET // 4})
    fill(cache, 2 * BUDGET)
    assert cache.stats().disk_bytes > 2 * BUDGET
    cache.clear()
    wait_until(lambda: cache.stats().disk_bytes < BUDGET)


# -- values that are too large for it ------------------------------------------------------------------


def test_a_value_beyond_a_quarter_is_not_stored_and_leaves_no_stale_one(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    fits = "x" * (BUDGET // 4 - 200)
    cache.set("fits", fits)
    cache.set("key", "small")
    cache.set("key", TOO_LARGE)
    assert cache.get("key", "missing") == "missing"
    assert cache.add("key", TOO_LARGE) is False
    assert cache.get_or_set("key", lambda: TOO_LARGE) == TOO_LARGE
    assert "key" not in cache
    assert cache.incidents() == {"read": 0, "write": 3, "value": 0}
    assert cache.get("fits") == fits


def test_it_is_warned_about_once(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with caplog.at_level(logging.DEBUG, logger="stratakv_django"):
        for number in range(3):
            make_cache(OPTIONS=LENIENT).set(
                f"key {number}", TOO_LARGE
            )  # a backend for each thread, one store
            now += 100.0  # beyond the rate at which other incidents are logged
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "max_bytes" in record.getMessage()
    assert record.getMessage().count("raise the budget, or store less at once") == 1
    assert "was not saved (key ':1:key 0')" in record.getMessage()
    assert record.exc_info is None
    assert make_cache(OPTIONS=LENIENT).incidents()["write"] == 3


def test_the_warning_does_not_take_the_place_of_an_error(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    cache.set("key", TOO_LARGE)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(cache._db, "put", fail)
    cache.set("key", 1)
    warning, error = caplog.records
    assert (warning.levelname, error.levelname) == ("WARNING", "ERROR")
    assert "more of this kind" not in error.getMessage()
    assert cache.incidents()["write"] == 2


def test_a_value_beyond_a_quarter_raises_if_strict(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS=LIMITED)
    cache.set("key", "small")
    with pytest.raises(stratakv.InvalidValueError, match="max_bytes"):
        cache.set("key", TOO_LARGE)
    assert cache.get("key") is None
    assert cache.incidents()["write"] == 0


def test_a_large_batch_is_saved_but_for_what_is_too_large_by_itself(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    batch = {f"key {number}": VALUE for number in range(500)}  # half of the budget
    cache.set_many({"large": "small", "key 7": "old"})
    assert cache.set_many({**batch, "large": TOO_LARGE}) == ["large"]
    assert cache.get_many([*batch, "large"]) == batch
    assert cache.incidents()["write"] == 1


def test_a_large_batch_raises_about_what_is_too_large_if_strict(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS=LIMITED)
    with pytest.raises(stratakv.InvalidValueError):
        cache.set_many({"large": TOO_LARGE, "small": 1, "other": 2})
    assert cache.get_many(["large", "small", "other"]) == {"small": 1, "other": 2}
