"""Many processes, forks and threads on one store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

Run = Callable[..., list[str]]

COUNT = "print(sum(cache.incr('counter') > 0 for _ in range(1000)))"
FORKS = """
    cache.get("counter")  # opens the store before the forks
    children = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            for _ in range(500):
                cache.incr("counter")
            cache.set("seen by %d" % os.getpid(), [1])
            os._exit(0)
        children.append(pid)
    for _ in range(500):
        cache.incr("counter")
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    print(cache.get("counter"), sum(cache.get("seen by %d" % pid) == [1] for pid in children))
"""
ADD = "print(sum(cache.add(f'key {n}', os.getpid()) for n in range(500)))"
MOVE = """
    moved = 0
    for n in range(300):
        try:
            cache.incr_version(f"key {n}")
            moved += 1
        except ValueError:
            pass
    print(moved)
"""
BATCHES = """
    for n in range(300):
        cache.set_many({key: n for key in "abcdefgh"})
"""


def test_counting_in_three_processes_loses_nothing(cache: StrataKVCache, run: Run) -> None:
    cache.set("counter", 0, 100)
    run(COUNT, COUNT, COUNT)
    assert cache.get("counter") == 3000
    assert cache._db.ttl(cache._name("counter", None)) == pytest.approx(75, abs=25)


def test_counting_across_forks_loses_nothing(cache: StrataKVCache, run: Run) -> None:
    cache.set("counter", 0)
    assert run(FORKS) == ["2500 4"]
    assert cache.get("counter") == 2500


def test_each_key_is_added_by_one_process_only(run: Run) -> None:
    assert sum(map(int, run(ADD, ADD))) == 500


def test_each_version_is_moved_once(cache: StrataKVCache, run: Run) -> None:
    cache.set_many({f"key {n}": [n] for n in range(300)})
    moved = sum(map(int, run(MOVE, MOVE)))
    now = [next(v for v in (1, 2, 3) if cache.get(f"key {n}", version=v) == [n]) for n in range(300)]
    assert moved == sum(version - 1 for version in now) == 300


def test_a_batch_is_seen_whole_or_not_at_all(
    cache: StrataKVCache, spawn: Callable[[str], object], run: Run
) -> None:
    reader = """
        torn = 0
        while cache.get("done") is None:
            torn += len(set(cache.get_many("abcdefgh").values())) > 1
        print(torn)
    """
    assert run(reader, BATCHES + '    cache.set("done", 1)')[0] == "0"


def test_a_value_is_seen_by_another_process_at_once(cache: StrataKVCache, run: Run) -> None:
    cache.set("key", {"a": [1]})
    assert run("print(cache.get('key')); cache.set('key', 'changed')") == ["{'a': [1]}"]
    assert cache.get("key") == "changed"


def test_counting_in_threads_loses_nothing(make_cache: MakeCache, cache: StrataKVCache) -> None:
    cache.set("counter", 0)

    def count(_: int) -> None:
        mine = make_cache()  # Django makes a backend for each thread
        for _ in range(200):
            mine.incr("counter")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert cache.get("counter") == 800


def test_a_fork_counts_its_own_incidents(store: Path, run: Run) -> None:
    code = """
        cache._db.put(cache._name("key", None), b"?")
        cache.get("key")
        if os.fork():
            os.wait()
            print(cache.incidents()["value"])
        else:
            print(cache.incidents()["value"], flush=True)
            os._exit(0)
    """
    assert run(code) == ["0\n1"]
