"""Somebody empties the cache as one empties a cache of files: the directory goes while the site runs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.cache import caches
from django.test import override_settings

from stratakv_django import handles
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache


@pytest.fixture
def tolerant(make_cache: MakeCache) -> StrataKVCache:
    return make_cache(OPTIONS={"strict": False})


def test_the_end_of_a_request_finds_it_out(
    tolerant: StrataKVCache, store: Path, run: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    tolerant.set("key", "old")
    shutil.rmtree(store)
    run("cache.set('key', 'new')")
    assert tolerant.get("key") == "old"  # until somebody looks
    tolerant._store._next_look = 0.0
    tolerant.close()
    assert tolerant.get("key") == "new"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "removed" in caplog.text


def test_a_request_soon_after_another_does_not_look(tolerant: StrataKVCache, store: Path) -> None:
    tolerant.set("key", "old")
    tolerant.close()
    shutil.rmtree(store)
    tolerant.close()
    assert tolerant.get("key") == "old"


def test_what_begins_a_segment_finds_it_out(
    tolerant: StrataKVCache, store: Path, run: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    tolerant.set("key", "old")
    shutil.rmtree(store)
    run("cache.set('key', 'new')")
    tolerant.delete_prefix("other")
    assert tolerant.incidents()["write"] == 1
    assert tolerant.get("key") == "new"
    tolerant.set("a", 1)
    assert run("print(cache.get('a'))") == ["1"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("remove", [shutil.rmtree, lambda path: path.rename(path.parent / "away")])
def test_one_line_in_the_log_tells_it_where_there_is_a_budget(
    make_cache: MakeCache, store: Path, remove: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(OPTIONS={"strict": False, "max_bytes": 2**20})
    cache.set("key", "old")
    remove(store)
    for number in range(100):
        cache.set(f"key {number}", "v" * 1000)
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert cache.incidents() == {"read": 0, "write": 1, "value": 0}
    assert (cache.get("key"), cache.get("key 99")) == (None, "v" * 1000)


def test_the_end_of_a_request_is_no_error_where_another_thread_was_faster(cache: StrataKVCache) -> None:
    cache.set("key", 1)
    assert cache._store.handle
    cache._store.handle.close()
    cache.close()


def test_all_are_closed_where_one_has_gone(
    tolerant: StrataKVCache, make_cache: MakeCache, store: Path, run: Callable[..., list[str]]
) -> None:
    """Others have changed it since this process last looked."""
    another = make_cache(location="another")
    for cache in (tolerant, another):
        cache.set("key", "old")
    run("cache.clear()")
    store.rename(store.with_name("away"))
    handles.close_all()
    assert tolerant.get("key") is None
    assert another.get("key") == "old"


def test_other_settings_in_a_test_begin_with_what_is_there(store: Path) -> None:
    aliases = {"default": {"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": str(store)}}
    with override_settings(CACHES=aliases):
        caches["default"].set("key", "first test")
    shutil.rmtree(store)
    with override_settings(CACHES=aliases):
        assert caches["default"].get("key") is None
    aliases["default"] |= {"OPTIONS": {"max_bytes": 2**20}}
    with override_settings(CACHES=aliases):  # the same directory with other options
        caches["default"].set("key", "second test")
        assert caches["default"].get("key") == "second test"
    assert all(each.handle is None for each in handles._stores.values())
