"""Storage errors: a miss or an unsaved write by default, counted, logged once a minute; raised if strict."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.exceptions import ImproperlyConfigured

import stratakv
from stratakv_django import handles, incidents
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

LENIENT = {"strict": False}


class Broken:
    """An engine on a disk that fails."""

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        return fail

    def __contains__(self, key: bytes) -> bool:
        raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def broken(make_cache: MakeCache) -> StrataKVCache:
    cache = make_cache(OPTIONS=LENIENT)
    cache._store.handle = Broken()  # type: ignore[assignment]
    return cache


@pytest.fixture
def occupied(tmp_path: Path) -> Path:
    """A LOCATION where no store can be, as it is a file."""
    (tmp_path / "store").write_text("something else")
    return tmp_path / "store"


# Each call, what it answers when the storage fails, and the kind of incident that is.
CALLS: list[tuple[Callable[[StrataKVCache], object], object, str]] = [
    (lambda cache: cache.get("key", "default"), "default", "read"),
    (lambda cache: cache.has_key("key"), False, "read"),
    (lambda cache: "key" in cache, False, "read"),
    (lambda cache: cache.get_many(["key"]), {}, "read"),
    (lambda cache: cache.set("key", 1), None, "write"),
    (lambda cache: cache.add("key", 1), False, "write"),
    (lambda cache: cache.touch("key"), False, "write"),
    (lambda cache: cache.delete("key"), False, "write"),
    (lambda cache: cache.set_many({"key": 1, "other": 2}), ["key", "other"], "write"),
    (lambda cache: cache.delete_many(["key"]), None, "write"),
    (lambda cache: cache.clear(), None, "write"),
]


@pytest.mark.parametrize(("call", "answer", "kind"), CALLS)
def test_a_storage_error_is_a_miss_or_an_unsaved_write(
    broken: StrataKVCache, call: Callable[[StrataKVCache], object], answer: object, kind: str
) -> None:
    assert call(broken) == answer
    assert {name for name, count in broken.incidents().items() if count} == {kind}


@pytest.mark.parametrize(("call", "answer", "kind"), CALLS)
def test_strict_raises_it(
    make_cache: MakeCache, call: Callable[[StrataKVCache], object], answer: object, kind: str
) -> None:
    cache = make_cache()
    cache._store.handle = Broken()  # type: ignore[assignment]
    with pytest.raises(OSError, match="Input/output"):
        call(cache)
    assert set(cache.incidents().values()) == {0}


@pytest.mark.parametrize("method", ["incr", "decr", "incr_version", "decr_version"])
def test_a_counter_that_cannot_be_read_is_missing(broken: StrataKVCache, method: str) -> None:
    with pytest.raises(ValueError, match="'key' not found"):
        getattr(broken, method)("key")
    assert broken.incidents()["write"] == 1


def test_what_is_left_of_an_entry_that_cannot_be_read_is_nothing(broken: StrataKVCache) -> None:
    assert broken.ttl("key") == 0


def test_get_or_set_goes_on_without_the_cache(broken: StrataKVCache) -> None:
    assert broken.get_or_set("key", lambda: "computed") == "computed"


def test_a_store_that_does_not_open_is_a_miss(make_cache: MakeCache, occupied: Path) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    cache.set("key", 1)
    assert cache.get("key") is None
    assert cache.incidents() == {"read": 1, "write": 1, "value": 0}
    assert occupied.read_text() == "something else"


def test_a_store_that_can_be_opened_again_is_used_again(make_cache: MakeCache, occupied: Path) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    assert cache.get("key") is None
    occupied.unlink()
    cache.set("key", 1)
    assert cache.get("key") == 1


def test_an_opening_that_fails_and_takes_long_is_not_tried_by_every_call(
    make_cache: MakeCache, occupied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every request would wait for it, one after the other."""

    def slow(*_: object, **__: object) -> None:
        tried.append(clock[0])
        clock[0] += 2
        raise stratakv.CorruptionError("store/CONTROL", 0, "it is missing")

    clock, tried = [1000.0], list[float]()
    monkeypatch.setattr(handles.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(stratakv, "open", slow)
    cache = make_cache(OPTIONS=LENIENT)
    for _ in range(30):
        assert cache.get("key") is None
        clock[0] += 1
    assert tried == [1000, 1022]
    assert cache.incidents()["read"] == 30, "each of them is counted"
    with pytest.raises(stratakv.CorruptionError, match="CONTROL"):
        make_cache(OPTIONS={**LENIENT, "strict": True}).get("key")


def test_strict_raises_that_the_store_does_not_open(make_cache: MakeCache, occupied: Path) -> None:
    with pytest.raises(stratakv.DirectoryError):
        make_cache().get("key")


def test_a_read_only_store_is_read_and_not_written(make_cache: MakeCache, cache: StrataKVCache) -> None:
    cache.set("key", 1)
    handles.close_all()
    read_only = make_cache(OPTIONS={"read_only": True, **LENIENT})
    read_only.set("key", 2)
    assert read_only.get("key") == 1
    assert read_only.incidents()["write"] == 1


def test_a_bad_value_in_a_read_only_store_is_a_miss_even_if_strict(
    make_cache: MakeCache, cache: StrataKVCache
) -> None:
    cache._db.put(cache._name("key", None), b"?")
    handles.close_all()
    read_only = make_cache(OPTIONS={"read_only": True})
    assert read_only.get("key", "missing") == "missing"


def test_a_value_that_is_too_large_is_not_saved_and_leaves_no_stale_one(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"max_value_bytes": 100, **LENIENT})
    cache.set_many({"a": "small", "b": "small", "c": "small"})
    cache.set("a", "x" * 200)
    assert cache.set_many({"b": "x" * 200, "other": 1}) == ["b", "other"]
    assert cache.get_many(["a", "b", "c", "other"]) == {"c": "small"}
    assert cache.incidents()["write"] == 2


def test_a_value_that_is_too_large_raises_if_strict(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"max_value_bytes": 100})
    cache.set("key", "small")
    with pytest.raises(stratakv.InvalidValueError):
        cache.set("key", "x" * 200)
    assert cache.get("key") is None


def test_contradicting_options_are_raised_even_if_not_strict(make_cache: MakeCache) -> None:
    make_cache(OPTIONS=LENIENT).get("key")
    with pytest.raises(ImproperlyConfigured, match="store"):
        make_cache(OPTIONS={"max_value_bytes": 100, **LENIENT}).get("key")


def test_what_cannot_be_pickled_is_raised_even_if_not_strict(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    with pytest.raises(Exception, match="pickle"):
        cache.set("key", (number for number in range(3)))


def test_the_log_has_the_traceback_once_a_minute(
    broken: StrataKVCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with caplog.at_level(logging.ERROR, logger="stratakv_django"):
        for _ in range(5):
            broken.get("key")
        broken.set("key", 1)
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        now += incidents.LOG_INTERVAL
        broken.get("key")
    read, write, later = caplog.records
    assert read.exc_info is not None
    assert read.exc_info[0] is OSError
    assert "answered as a miss" in read.getMessage()
    assert "not saved" in write.getMessage()
    assert "4 more" in later.getMessage()
    assert broken.incidents() == {"read": 6, "write": 1, "value": 0}


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda cache: cache.get("key"), "(key ':1:key')"),
        (lambda cache: cache.get("key", version=7), "(key ':7:key')"),
        (lambda cache: cache.has_key("key"), "(key ':1:key')"),
        (lambda cache: cache.ttl("key"), "(key ':1:key')"),
        (lambda cache: cache.get_many(["key", "b", "c"]), "(key ':1:key' and 2 more)"),
        (lambda cache: cache.set("key", 1), "(key ':1:key')"),
        (lambda cache: cache.add("key", 1), "(key ':1:key')"),
        (lambda cache: cache.touch("key"), "(key ':1:key')"),
        (lambda cache: cache.touch("key", 0), "(key ':1:key')"),
        (lambda cache: cache.delete("key"), "(key ':1:key')"),
        (lambda cache: cache.set_many({"small": "1", "key": "22"}), "(key ':1:key' and 1 more)"),
        (lambda cache: cache.set_many({"key": 1}, 0), "(key ':1:key')"),
        (lambda cache: cache.delete_many(["key", "b"]), "(key ':1:key' and 1 more)"),
        (lambda cache: cache.get("k" * 100), f"(key ':1:{'k' * 47}'...)"),
        (lambda cache: cache.get("\udc80\n"), r"(key ':1:\\xed\\xb2\\x80\n')"),
        (lambda cache: cache.get("k" * 70_000), r"(key '\\xff"),
    ],
)
def test_the_log_names_the_key(
    broken: StrataKVCache,
    call: Callable[[StrataKVCache], object],
    names: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    call(broken)
    assert names in caplog.records[0].getMessage()


@pytest.mark.parametrize("method", ["incr", "incr_version"])
def test_the_log_names_the_key_of_a_counter(
    broken: StrataKVCache, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="'key' not found"):
        getattr(broken, method)("key")
    assert "not saved (key ':1:key')" in caplog.text


@pytest.mark.parametrize("method", ["get", "incr", "incr_version"])
def test_the_log_names_the_key_of_a_bad_value(
    make_cache: MakeCache, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(KEY_PREFIX="site", OPTIONS=LENIENT)
    cache._db.put(cache._name("key", None), b"p" + bytes(20))
    with suppress(ValueError):
        getattr(cache, method)("key")
    assert "could not be decoded and was answered as a miss (key 'site:1:key')" in caplog.text


def test_the_log_names_the_key_of_a_value_that_is_too_large_and_says_once_what_to_do(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(OPTIONS={"max_value_bytes": 100, **LENIENT})
    cache.set_many({"a": "small", "large": "x" * 200})
    (record,) = caplog.records
    assert "a write was not saved (key ':1:large' and 1 more): " in record.getMessage()
    assert record.getMessage().count("raise") == 1


def test_a_session_that_cannot_be_saved_is_an_error_at_once_if_strict(make_cache: MakeCache) -> None:
    """Else Django would try 10,000 keys for it."""
    session = SessionStore()
    session._cache = make_cache(OPTIONS={"max_bytes": 2**20})
    session["large"] = "x" * 2**19
    with pytest.raises(stratakv.InvalidValueError, match="a quarter of max_bytes"):
        session.save()


def test_the_log_does_not_have_the_whole_key_of_a_session(
    broken: StrataKVCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has that is logged in."""
    session = SessionStore()
    session._cache = broken
    session._session_key = "abcdefghijklmnopqrstuvwxyz012345"
    session.load()
    assert ":1:django.contrib.sessions.cacheabcdef" in caplog.text
    assert "uvwxyz" not in caplog.text


class Throttled(logging.Handler):
    """Says the same but once, as handlers that send mail do; what it has said is in the cache."""

    def __init__(self, cache: StrataKVCache) -> None:
        super().__init__()
        self.cache = cache

    def emit(self, record: logging.LogRecord) -> None:
        self.cache.add(f"said:{record.name}", True, 60)


def test_a_log_handler_may_use_a_cache_that_is_being_opened(
    make_cache: MakeCache, cache: StrataKVCache, store: Path, request: pytest.FixtureRequest
) -> None:
    cache.set("key", 1)
    handles.close_all()
    (store / "MANIFEST").write_bytes(b"junk")
    lenient = make_cache(OPTIONS=LENIENT)
    handler = Throttled(lenient)
    logging.getLogger("stratakv_django").addHandler(handler)
    request.addfinalizer(lambda: logging.getLogger("stratakv_django").removeHandler(handler))
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(lenient.get("key")), daemon=True)
    reader.start()
    reader.join(60)
    assert found == [1]
    assert lenient.incidents()["write"] > 0


def test_a_write_inside_another_one_is_not_saved(make_cache: MakeCache, cache: StrataKVCache) -> None:
    lenient = make_cache(OPTIONS=LENIENT)
    with lenient._db.transaction():
        lenient.set("key", 1)
        with pytest.raises(stratakv.TransactionError):
            cache.set("key", 1)
    assert lenient.get("key") is None
    assert lenient.incidents()["write"] == 1
