"""A cache that is damaged so that it does not open: recovered or begun anew, by one of the processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import stratakv
from stratakv_django import handles
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

LENIENT = {"strict": False}


@pytest.fixture
def lost(make_cache: MakeCache, store: Path) -> Path:
    """A store that lacks a log, so that it neither opens nor can be recovered without loss."""
    cache = make_cache()
    cache.set("key", "v" * 1000)
    cache._db.compact()
    handles.close_all()
    next(log for log in store.glob("*.log") if b"vvv" in log.read_bytes()).unlink()
    return store


def test_it_is_set_aside_and_an_empty_one_takes_its_place(
    make_cache: MakeCache, lost: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(OPTIONS=LENIENT)
    assert cache.get("key") is None
    cache.set("key", 1)
    assert cache.get("key") == 1
    assert set(cache.incidents().values()) == {0}
    (record,) = [record for record in caplog.records if record.name == "stratakv_django"]
    assert record.levelname == "ERROR"
    (folder,) = (lost / "lost+found").iterdir()
    assert f"The old cache is now in {folder}" in record.getMessage()
    assert (folder / "MANIFEST").is_file()
    command = re.search(r"`python -m stratakv recover --mode salvage (.*)`", record.getMessage())
    assert command
    stratakv.recover(command[1], "salvage")


def test_it_is_recovered_where_nothing_is_lost_by_that(
    make_cache: MakeCache, cache: StrataKVCache, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set("key", 1)
    handles.close_all()
    (store / "MANIFEST").write_bytes(b"junk")
    assert make_cache(OPTIONS=LENIENT).get("key") == 1
    (record,) = [record for record in caplog.records if record.name == "stratakv_django"]
    assert "recovered, and no entry was lost" in record.getMessage()
    assert re.search(rf"damaged files are in {store}/lost\+found/\S+Z", record.getMessage())


def test_it_is_recovered_where_there_is_nothing_to_keep(
    make_cache: MakeCache, cache: StrataKVCache, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set("key", 1)
    handles.close_all()
    (store / "MANIFEST").unlink()
    assert make_cache(OPTIONS=LENIENT).get("key") == 1
    (record,) = [record for record in caplog.records if record.name == "stratakv_django"]
    assert record.getMessage().endswith("and no entry was lost.")


def test_strict_raises_and_changes_nothing(make_cache: MakeCache, lost: Path) -> None:
    for _ in range(2):
        with pytest.raises(stratakv.CorruptionError):
            make_cache().get("key")
    assert not (lost / "lost+found").exists()


def test_read_only_changes_nothing(make_cache: MakeCache, lost: Path) -> None:
    assert make_cache(OPTIONS={"read_only": True, **LENIENT}).get("key") is None
    assert not (lost / "lost+found").exists()


@pytest.mark.parametrize("text", ["stratakv 2\n", "something else"])
def test_what_is_no_damage_is_left_as_it_is(make_cache: MakeCache, store: Path, text: str) -> None:
    """A newer format, and a directory that is none of ours."""
    store.mkdir(mode=0o700)
    (store / "FORMAT").write_text(text)
    cache = make_cache(OPTIONS=LENIENT)
    cache.set("key", 1)
    assert cache.get("key") is None
    assert cache.incidents() == {"read": 1, "write": 1, "value": 0}
    assert [file.name for file in store.iterdir()] == ["FORMAT"]


def test_a_cache_that_others_have_open_is_left_to_them(
    make_cache: MakeCache, cache: StrataKVCache, store: Path, run: Callable[..., list[str]]
) -> None:
    cache.set("key", 1)
    (store / "MANIFEST").write_bytes(b"junk")
    code = (
        "cache = StrataKVCache(sys.argv[1], {'OPTIONS': {'maintenance': 'manual'}}); print(cache.get('key'))"
    )
    assert run(code) == ["None"]
    assert cache.get("key") == 1
    assert not (store / "lost+found").exists()


def test_processes_that_find_it_at_once_share_the_new_one(
    make_cache: MakeCache, lost: Path, run: Callable[..., list[str]]
) -> None:
    """One of them sets it aside; what any of them wrote since is there."""
    code = """
        import logging, time
        logging.disable()
        cache = StrataKVCache(sys.argv[1], {"OPTIONS": {"maintenance": "manual"}})
        time.sleep(max(0, float(sys.stdin.readline()) - time.time()))
        cache.set("seen by %d" % os.getpid(), 1)
        print(os.getpid(), sum(cache.incidents().values()))
    """
    starts = f"import io; sys.stdin = io.StringIO('{time.time() + 4}')\n"
    printed = run(*[starts + re.sub(r"(?m)^ {8}", "", code)] * 6)
    pids = [line.split()[0] for line in printed]
    assert [line.split()[1] for line in printed] == ["0"] * 6
    assert len(list((lost / "lost+found").iterdir())) == 1
    cache = make_cache()
    assert cache.get_many([f"seen by {pid}" for pid in pids]) == {f"seen by {pid}": 1 for pid in pids}


def test_attempts_are_a_minute_apart(
    make_cache: MakeCache, lost: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may read the whole store, so a site on a full disk must not try at every request."""
    tried = []

    def rescue(path: str) -> None:
        tried.append(path)
        raise stratakv.DiskFullError(path, OSError(28, "No space left on device"), "free some space")

    monkeypatch.setattr(stratakv, "rescue", rescue)
    now = 1000.0
    monkeypatch.setattr(handles.time, "monotonic", lambda: now)
    cache = make_cache(OPTIONS=LENIENT)
    for _ in range(5):
        assert cache.get("key") is None
    assert len(tried) == 1
    assert cache.incidents()["read"] == 5
    now += handles.RESCUE_INTERVAL
    cache.get("key")
    assert len(tried) == 2
