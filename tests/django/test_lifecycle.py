"""Making, closing and sharing backends costs nothing and touches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.cache import caches
from django.core.signals import request_finished
from django.test import override_settings

import stratakv
from stratakv_django import conf, handles
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache


def test_making_a_backend_touches_no_file(make_cache: MakeCache, store: Path) -> None:
    cache = make_cache()
    cache.close()
    assert not store.exists()
    cache.get("key")
    assert store.is_dir()


def test_close_after_each_request_leaves_the_store_open(store: Path) -> None:
    settings = {"default": {"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": str(store)}}
    with override_settings(CACHES=settings):
        caches["default"].set("key", 1)
        used = handles.store(str(store), conf.parse(store, {}).engine)
        opened = used.handle
        request_finished.send(sender=None)
        assert used.handle is opened is not None
        assert caches["default"].get("key") == 1
    handles.close_all()


def test_all_backends_of_a_process_share_one_open_store(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real_open = stratakv.open

    def counting_open(*args: object, **kwargs: object) -> stratakv.DB:
        opened.append(args)
        return real_open(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(stratakv, "open", counting_open)
    for prefix in "abc":
        make_cache(KEY_PREFIX=prefix).set("key", prefix)
    assert len(opened) == 1


def test_a_relative_location_does_not_move_with_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = StrataKVCache("relative", {})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cache.set("key", 1)
    assert (tmp_path / "relative").is_dir()
    handles.close_all()


def test_values_are_there_after_the_store_was_closed(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("key", {"a": 1})
    handles.close_all()
    assert cache.get("key") == {"a": 1}


def test_statistics_are_those_of_the_store(cache: StrataKVCache) -> None:
    cache.set("key", 1)
    assert (cache.stats().keys, cache.stats().durability) == (1, "interval")
    assert cache.stats().path == cache._db.stats().path
