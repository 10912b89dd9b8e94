"""MAX_ENTRIES and CULL_FREQUENCY: as Django's own backends do it, and only when asked to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import stratakv
from stratakv_django import census
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache


def entries(cache: StrataKVCache) -> int:
    return len(list(cache._db.keys(cache._namespace)))


def fill(cache: StrataKVCache, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        cache.set(f"key {number}", number)


def test_nothing_is_culled_unless_asked_for(cache: StrataKVCache) -> None:
    fill(cache, 500)  # Django's default is to cull at 300
    assert entries(cache) == 500


@pytest.mark.parametrize(
    ("options", "left"), [({}, 21), ({"CULL_FREQUENCY": 2}, 16), ({"CULL_FREQUENCY": 0}, 1)]
)
def test_a_full_cache_is_culled_by_the_next_new_key(
    make_cache: MakeCache, options: dict[str, int], left: int
) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 30, **options})
    fill(cache, 30)
    assert entries(cache) == 30
    cache.set("key 5", "replaced")  # not new
    assert entries(cache) == 30
    cache.set("new", 1)
    assert entries(cache) == left
    assert cache.get("new") == 1


def test_the_oldest_written_go_first(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 30})
    fill(cache, 30)
    cache.set("key 0", "written again")
    cache.set("new", 1)
    assert [key for key in range(30) if f"key {key}" not in cache] == list(range(1, 11))


@pytest.mark.parametrize(
    "write",
    [
        lambda cache, key: cache.add(key, 1),
        lambda cache, key: cache.set_many({key: 1, f"{key} again": 1}),
        lambda cache, key: cache.get_or_set(key, 1),
    ],
)
def test_every_way_to_write_keeps_the_limit(
    make_cache: MakeCache, write: Callable[[StrataKVCache, str], Any]
) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 10})
    for number in range(40):
        write(cache, f"key {number}")
        assert 0 < entries(cache) <= 10


def test_set_many_says_what_was_not_saved(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 10, "max_value_bytes": 1000, "strict": False})
    assert cache.set_many({"a": 1, "large": "x" * 2000, "b": 2}) == ["large"]
    assert cache.get_many(["a", "large", "b"]) == {"a": 1, "b": 2}


def test_other_prefixes_do_not_count_and_are_not_culled(make_cache: MakeCache) -> None:
    other = make_cache(KEY_PREFIX="other")
    fill(other, 50)
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 10})
    fill(cache, 25)
    assert entries(other) == 50
    assert entries(cache) <= 10


def test_deleted_and_cleared_entries_make_room(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 10})
    fill(cache, 10)
    cache.delete("key 0")
    cache.set("new", 1)
    assert entries(cache) == 10
    cache.clear()
    fill(cache, 10)
    assert entries(cache) == 10


def test_counting_is_rare(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 1000})
    monkeypatch.setattr(census, "_TRUSTED_AT_LEAST", 3600.0)
    walks = 0
    real = stratakv.DB.keys

    def counted(db: stratakv.DB, prefix: bytes = b"") -> Iterator[bytes]:
        nonlocal walks
        walks += 1
        return real(db, prefix)

    monkeypatch.setattr(stratakv.DB, "keys", counted)
    fill(cache, 999)
    for number in range(50):  # what is deleted makes room for what comes next
        cache.delete(f"key {number}")
        cache.set(f"another {number}", 1)
    cache.delete_many([f"another {number}" for number in range(50)])
    fill(cache, 50)
    assert walks == 1


def test_what_other_processes_write_is_counted_in_time(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch, run: Callable[..., list[str]]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cache = make_cache(OPTIONS={"MAX_ENTRIES": 30})
    fill(cache, 1)
    run("for n in range(100): cache.set(f'theirs {n}', n)")
    now += census._TRUSTED_AT_LEAST
    cache.set("mine", 1)
    assert entries(cache) < 101
