"""`get_or_set` calls a function once for all that miss its key, and `lock` is one for all processes."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import stratakv
from stratakv_django import handles, naming, single_flight
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

Spawn = Callable[[str], Any]

CALLERS = 6


class Slow:
    """A function that takes its time, and counts its calls."""

    def __init__(self, value: object = "made", seconds: float = 0.3) -> None:
        self.value, self.seconds = value, seconds
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        time.sleep(self.seconds)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    async def later(self) -> Any:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        return self.value


def at_once(call: Callable[[], Any], callers: int = CALLERS) -> list[Any]:
    """Make a call in many threads at once; return what each got, an exception where it raised one."""
    with ThreadPoolExecutor(callers) as pool:
        futures = [pool.submit(call) for _ in range(callers)]
    return [future.exception() or future.result() for future in futures]


def test_threads_make_a_value_once(cache: StrataKVCache) -> None:
    make = Slow()
    assert at_once(lambda: cache.get_or_set("page", make)) == ["made"] * CALLERS
    assert make.calls == 1


def test_none_is_a_value_like_any_other(cache: StrataKVCache) -> None:
    make = Slow(None)
    assert at_once(lambda: cache.get_or_set("page", make)) == [None] * CALLERS
    assert make.calls == 1


def test_processes_make_a_value_once(cache: StrataKVCache, run: Callable[..., list[str]]) -> None:
    code = """
        import time
        calls = []
        def make():
            calls.append("made")
            time.sleep(2)
            return "made"
        print(cache.get_or_set("page", make), len(calls))
    """
    assert sorted(run(*[code] * 4)) == ["made 0"] * 3 + ["made 1"]


def test_tasks_make_a_value_once(cache: StrataKVCache) -> None:
    make = Slow()

    async def all_at_once() -> list[Any]:
        await cache.aget("opened")
        asked = [cache.aget_or_set("page", make.later) for _ in range(CALLERS)]
        return await asyncio.gather(*asked, asyncio.to_thread(cache.get_or_set, "page", make))

    assert asyncio.run(all_at_once()) == ["made"] * (CALLERS + 1)
    assert make.calls == 1


def test_other_keys_and_versions_do_not_wait(cache: StrataKVCache) -> None:
    made = threading.Event()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(cache.get_or_set, "page", lambda: made.wait(20))
        while not cache._store.handle:
            time.sleep(0.01)
        assert cache.get_or_set("other", lambda: 1) == 1
        assert cache.get_or_set("page", lambda: 2, version=2) == 2
        assert cache.get_or_set("page", 3) == 3  # nothing to call, nothing to wait for
        made.set()
        assert slow.result() == 3  # what was stored first


def test_where_the_function_raises_each_calls_it(cache: StrataKVCache) -> None:
    make = Slow(ArithmeticError("no"))
    found = at_once(lambda: cache.get_or_set("page", make))
    assert [type(error) for error in found] == [ArithmeticError] * CALLERS
    assert cache.get_or_set("page", lambda: "better") == "better"


def test_where_nothing_is_stored_nobody_waits_twice(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"strict": False, "max_value_bytes": 100})
    first = Slow("x" * 1000, seconds=0.5)
    others = threading.Barrier(CALLERS - 1)  # which nobody passes if they go one after the other

    def make() -> Any:
        return others.wait(20) >= 0 if first.calls else first()

    assert sorted(at_once(lambda: cache.get_or_set("page", make)), key=str) == [True] * 5 + [first.value]


@pytest.mark.parametrize("timeout", [0, -1])
def test_what_is_not_kept_is_not_waited_for(cache: StrataKVCache, timeout: int) -> None:
    gate = threading.Barrier(CALLERS)  # which nobody passes who waits for another one
    found = at_once(lambda: cache.get_or_set("page", lambda: gate.wait(20) >= 0, timeout))
    assert found == [True] * CALLERS


def test_a_killed_process_is_not_waited_for(cache: StrataKVCache, spawn: Spawn) -> None:
    maker = spawn("""
        import time
        def make():
            print("making", flush=True)
            time.sleep(600)
        cache.get_or_set("page", make)
    """)
    assert maker.stdout.readline() == "making\n"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(cache.get_or_set, "page", lambda: "made by another")
        time.sleep(0.2)
        assert not waiting.done()
        maker.kill()
        assert waiting.result(20) == "made by another"


def test_a_thread_that_makes_values_waits_for_nobody(cache: StrataKVCache) -> None:
    """Who makes the other value may be waiting for such a thread."""
    with cache._db.lock(naming.of_flight(cache._name("menu", None))):
        outer = cache.aget_or_set("page", lambda: cache.get_or_set("menu", lambda: "made by both"))
        assert asyncio.run(asyncio.wait_for(outer, 20)) == "made by both"


def test_nobody_waits_for_ever(cache: StrataKVCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight, "LONGEST_WAIT", 0.1)
    going, made = threading.Event(), threading.Event()

    def hang() -> str:
        going.set()
        made.wait(20)
        return "late"

    with ThreadPoolExecutor() as pool:
        slow = pool.submit(cache.get_or_set, "page", hang)
        going.wait(20)
        assert cache.get_or_set("page", lambda: "made by another") == "made by another"
        made.set()
        assert slow.result() == "made by another"


def test_a_function_may_ask_for_the_key_it_makes(cache: StrataKVCache) -> None:
    assert cache.get_or_set("page", lambda: cache.get_or_set("page", lambda: "inner")) == "inner"

    async def outer() -> Any:
        return await cache.aget_or_set("async", inner)

    async def inner() -> str:
        return str(await cache.aget_or_set("async", lambda: cache.get_or_set("async", lambda: "inner")))

    assert asyncio.run(outer()) == "inner"


def test_a_task_that_is_cancelled_lets_others_make_the_value(cache: StrataKVCache) -> None:
    async def cancel_one() -> Any:
        await cache.aget("opened")
        hanging = asyncio.create_task(cache.aget_or_set("page", Slow(seconds=600).later))
        waiting = asyncio.create_task(cache.aget_or_set("page", Slow(seconds=0).later))
        await asyncio.sleep(0.1)
        hanging.cancel()
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(cancel_one()) == "made"


def test_waiting_for_a_value_keeps_the_loop_free(cache: StrataKVCache) -> None:
    async def watch() -> int:
        await cache.aget("opened")
        asked = [asyncio.create_task(cache.aget_or_set("page", Slow().later)) for _ in range(2)]
        ticks = 0
        while not all(task.done() for task in asked):
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(watch()) > 5


def test_a_call_that_would_hold_up_the_loop_does_not_wait_for_its_tasks(cache: StrataKVCache) -> None:
    async def beside() -> Any:
        await cache.aget("opened")
        making = asyncio.create_task(cache.aget_or_set("page", Slow().later))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        return cache.get_or_set("page", lambda: "mine"), time.monotonic() - began, await making

    mine, took, theirs = asyncio.run(beside())
    assert (mine, theirs) == ("mine", "mine")
    assert took < 10  # and not a minute


def test_a_thread_that_a_task_may_need_does_not_wait_for_it(cache: StrataKVCache) -> None:
    """As in a synchronous view, while a coroutine that asks the database makes the value."""

    async def make() -> Any:
        await asyncio.sleep(0.3)
        return await sync_to_async(lambda: "made")()

    async def beside() -> Any:
        await cache.aget("opened")
        making = asyncio.create_task(cache.aget_or_set("page", make))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        mine = await sync_to_async(cache.get_or_set)("page", lambda: "mine")
        return mine, time.monotonic() - began, await making

    mine, took, theirs = asyncio.run(beside())
    assert (mine, theirs) == ("mine", "mine")
    assert took < 10  # and not a minute
    assert not single_flight._made_by_tasks


def test_a_synchronous_view_of_an_asynchronous_site_waits_for_others(cache: StrataKVCache) -> None:
    slow = Slow()

    async def beside() -> Any:
        await cache.aget("opened")
        making = asyncio.get_running_loop().run_in_executor(None, cache.get_or_set, "page", slow)
        await asyncio.sleep(0.1)
        return await sync_to_async(cache.get_or_set)("page", slow), await making

    assert asyncio.run(beside()) == ("made", "made")
    assert slow.calls == 1


def test_a_function_that_ends_an_iteration_is_an_error(cache: StrataKVCache) -> None:
    """Before Python 3.13, its exception would never come out of the thread."""

    async def ask() -> None:
        await asyncio.wait_for(cache.aget_or_set("page", lambda: next(iter(()))), 20)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(ask())
    assert cache.get_or_set("page", lambda: "made") == "made"


def test_a_child_that_the_function_forks_goes_its_way(cache: StrataKVCache) -> None:
    parent, statuses = os.getpid(), []

    def fork() -> str:
        if child := os.fork():
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return "made"

    try:
        assert cache.get_or_set("page", fork) == "made"
    finally:
        if os.getpid() != parent:
            os._exit(7 if sys.exc_info()[1] else 0)
    assert statuses == [0]


def test_a_lock_that_cannot_be_had_costs_no_value(make_cache: MakeCache, store: Path) -> None:
    cache = make_cache(OPTIONS={"strict": False})
    cache.set("opened", 1)
    (store / "keys.lock").mkdir()
    assert cache.get_or_set("page", lambda: "made") == "made"
    assert cache.get("page") == "made"
    assert cache.incidents()["write"] == 1
    with pytest.raises(stratakv.StorageError, match=r"keys\.lock"):
        make_cache().get_or_set("other", lambda: "made")


def test_a_cache_that_is_only_read_has_no_lock(make_cache: MakeCache) -> None:
    make_cache().set("other", 1)
    handles.close_all()
    cache = make_cache(OPTIONS={"strict": False, "read_only": True})
    assert cache.get_or_set("page", lambda: "made") == "made"
    assert cache.incidents()["write"] == 1, "of what could not be stored"


def test_a_miss_is_counted_once(cache: StrataKVCache) -> None:
    cache.get_or_set("page", lambda: "made")
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


def test_a_lock_is_one_for_all_processes(cache: StrataKVCache, run: Callable[..., list[str]]) -> None:
    with cache.lock("report"):
        assert run(
            'print(cache.lock("report").acquire(blocking=False), cache.lock("report", 2).locked(), '
            'cache.lock("other").locked())'
        ) == ["False False False"]
    assert run('print(cache.lock("report").acquire(timeout=20)); os._exit(0)') == ["True"]


def test_a_lock_does_not_hold_up_its_entry(cache: StrataKVCache) -> None:
    with cache.lock("page"):
        cache.set("page", 1)
        assert cache.get("page") == 1
        cache.delete("page")
        assert cache.get_or_set("page", lambda: "made") == "made"
