"""The `a*` methods do not block the event loop, and do without threads wherever they can."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.base import BaseCache
from django.utils.asyncio import async_unsafe

import stratakv
from stratakv_django import async_calls, handles
from stratakv_django.cache import StrataKVCache
from tests.django.conftest import MakeCache

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")

# Each asynchronous call on a cache that holds "key": 1.
READS: list[tuple[Any, ...]] = [("aget", "key"), ("ahas_key", "key"), ("aget_many", ["key"])]
WRITES: list[tuple[Any, ...]] = [
    ("aset", "key", 2),
    ("aadd", "key", 2),
    ("atouch", "key"),
    ("adelete", "key"),
    ("aset_many", {"a": 1}),
    ("adelete_many", ["key"]),
    ("aincr", "key"),
    ("adecr", "key"),
    ("aincr_version", "key"),
    ("adecr_version", "key"),
]


class Lazy:
    """Asks the database when it is pickled, as a queryset does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (async_unsafe(lambda: f"rows for thread {threading.get_ident()}")(),)


class Asking:
    """Asks the database when it is unpickled."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.thread = async_unsafe(threading.get_ident)()


def threads_of(cache: StrataKVCache, call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> set[bool]:
    """Make an asynchronous call; tell for each use of the engine if it was on the event loop's thread."""
    seen = set()
    engine = cache._db
    loop_thread = threading.get_ident()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            seen.add(threading.get_ident() == loop_thread)
            return getattr(engine, name)

        def __contains__(self, key: bytes) -> bool:
            seen.add(threading.get_ident() == loop_thread)
            return key in engine

    monkeypatch.setattr(cache._store, "handle", Watched())
    name, *args = call
    asyncio.run(getattr(cache, name)(*args))
    return seen


def test_every_asynchronous_method_is_our_own() -> None:
    twins = [name for name in vars(BaseCache) if name.startswith("a") and name[1:] in vars(BaseCache)]
    assert len(twins) >= 16
    assert [name for name in twins if getattr(StrataKVCache, name) is getattr(BaseCache, name)] == []


@pytest.mark.parametrize("call", READS + WRITES, ids=lambda call: call[0])
def test_what_cannot_block_runs_inline(
    cache: StrataKVCache, call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("key", 1)
    assert threads_of(cache, call, monkeypatch) == {True}


@pytest.mark.parametrize("call", [*WRITES, ("aclear",), ("adelete_prefix", "k")], ids=lambda call: call[0])
@pytest.mark.parametrize("options", [{"durability": "always"}, {"MAX_ENTRIES": 100}], ids=str)
def test_writes_that_can_block_run_in_a_thread(
    make_cache: MakeCache, options: dict[str, Any], call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(OPTIONS=options)
    cache.set("key", 1)
    assert threads_of(cache, call, monkeypatch) == {False}


@pytest.mark.parametrize("call", READS, ids=lambda call: call[0])
def test_reads_run_inline_whatever_the_durability(
    make_cache: MakeCache, call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(OPTIONS={"durability": "always"})
    assert threads_of(cache, call, monkeypatch) == {True}


def test_opening_the_store_does_not_block(cache: StrataKVCache, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_in = []
    real = stratakv.open

    def watched_open(*args: Any, **kwargs: Any) -> stratakv.DB:
        opened_in.append(threading.get_ident())
        return real(*args, **kwargs)

    monkeypatch.setattr(stratakv, "open", watched_open)
    assert asyncio.run(cache.aget("key", "missing")) == "missing"
    assert opened_in
    assert opened_in != [threading.get_ident()]


def test_get_or_set_keeps_the_loop_free_while_a_value_is_computed(cache: StrataKVCache) -> None:
    ticked = threading.Event()

    def compute() -> str:
        assert ticked.wait(30)
        return "computed"

    async def both() -> Any:
        cache_call = asyncio.create_task(cache.aget_or_set("key", compute))
        for _ in range(5):
            await asyncio.sleep(0.01)
        ticked.set()
        return await cache_call

    assert asyncio.run(both()) == "computed"


def test_get_or_set_awaits_a_coroutine_function(cache: StrataKVCache) -> None:
    async def compute() -> str:
        await asyncio.sleep(0)
        return "computed"

    assert asyncio.run(cache.aget_or_set("key", compute)) == "computed"
    assert cache.get("key") == "computed"


def test_get_or_set_awaits_what_a_function_returns_that_has_called_a_coroutine_function(
    cache: StrataKVCache,
) -> None:
    async def compute(number: int) -> str:
        await asyncio.sleep(0)
        return f"computed {number}"

    assert asyncio.run(cache.aget_or_set("key", lambda: compute(7))) == "computed 7"
    assert cache.get("key") == "computed 7"


@pytest.mark.parametrize("default", [None, "value"])
def test_get_or_set_stores_and_returns_a_plain_default(cache: StrataKVCache, default: object) -> None:
    assert asyncio.run(cache.aget_or_set("key", default)) == default
    assert asyncio.run(cache.aget_or_set("key", "another")) == default


def test_context_variables_are_seen_by_what_runs_in_a_thread(cache: StrataKVCache) -> None:
    async def call() -> Any:
        request_id.set("request 7")
        return await cache.aget_or_set("key", lambda: request_id.get())

    assert asyncio.run(call()) == "request 7"


@pytest.mark.parametrize("opened", [True, False])
def test_a_lazy_queryset_sees_what_its_site_has_not_committed(cache: StrataKVCache, opened: bool) -> None:
    if opened:
        cache.get("opened")
    async_to_sync(cache.aset)("key", Lazy())
    assert cache.get("key") == f"rows for thread {threading.get_ident()}"


@pytest.mark.parametrize("opened", [True, False])
def test_a_value_may_ask_the_database_when_it_is_read(cache: StrataKVCache, opened: bool) -> None:
    value = Asking()
    value.thread = 0
    cache.set("key", value)
    if not opened:
        handles.close_all()
    assert async_to_sync(cache.aget)("key").thread == threading.get_ident()
    assert async_to_sync(cache.aget_many)(iter(["key"]))["key"].thread == threading.get_ident()
    assert cache.incidents()["value"] == 0


def test_calls_at_once_from_many_tasks_lose_nothing(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"durability": "always"})
    cache.set("counter", 0)

    async def count() -> None:
        await asyncio.gather(*(cache.aincr("counter") for _ in range(50)))

    asyncio.run(count())
    assert cache.get("counter") == 50


def test_a_child_process_has_threads_of_its_own(run: Callable[..., list[str]]) -> None:
    code = """
        import asyncio
        cache = StrataKVCache(sys.argv[1], {"OPTIONS": {"durability": "always"}})
        asyncio.run(cache.aset("parent", 1))
        pid = os.fork()
        if not pid:
            asyncio.run(asyncio.wait_for(cache.aset("child", 2), 20))
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(cache.get_many(["parent", "child"]))
    """
    assert run(f'import warnings\nwarnings.simplefilter("ignore", DeprecationWarning)\n{dedent(code)}') == [
        "{'parent': 1, 'child': 2}"
    ]


def test_threads_are_the_backends_own(make_cache: MakeCache) -> None:
    cache = make_cache(OPTIONS={"durability": "always"})
    asyncio.run(cache.aset("key", 1))
    assert any(thread.name.startswith("stratakv-store") for thread in threading.enumerate())


def test_slow_values_do_not_hold_up_the_store(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    async_calls._threads.cache_clear()
    monkeypatch.setattr(async_calls, "_MOST_THREADS", 1)
    cache = make_cache(OPTIONS={"durability": "always"})
    go_on = threading.Event()

    async def write_beside_a_slow_value() -> None:
        slow = asyncio.create_task(cache.aget_or_set("slow", lambda: go_on.wait(20)))
        await asyncio.wait_for(cache.aset("key", 1), 10)
        go_on.set()
        assert await slow is True

    asyncio.run(write_beside_a_slow_value())
    async_calls._threads.cache_clear()


class TestLock:
    """`alock` is `lock` for tasks: it waits, and the event loop goes on."""

    def test_one_task_at_a_time(self, cache: StrataKVCache) -> None:
        inside, most, turns = 0, 0, 0

        async def work() -> None:
            nonlocal inside, most, turns
            async with cache.alock("k"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.002)
                inside -= 1
                turns += 1

        async def all_of_them() -> None:
            await asyncio.gather(*(work() for _ in range(5)))

        asyncio.run(all_of_them())
        assert (most, turns) == (1, 5)
        assert not cache.lock("k").locked()

    def test_it_waits_for_a_thread_that_has_it(self, cache: StrataKVCache) -> None:
        lock = cache.lock("k")
        lock.acquire()
        order = []

        async def wait() -> None:
            async with cache.alock("k"):
                order.append("taken")

        async def free() -> None:
            await asyncio.sleep(0.01)
            order.append("freed")
            lock.release()

        async def both() -> None:
            await asyncio.gather(wait(), free())

        asyncio.run(both())
        assert order == ["freed", "taken"]

    def test_one_that_gives_up_leaves_it_to_others(self, cache: StrataKVCache) -> None:
        lock = cache.lock("k")
        lock.acquire()

        async def give_up() -> None:
            async with asyncio.timeout(0.01), cache.alock("k"):
                raise AssertionError

        with pytest.raises(TimeoutError):
            asyncio.run(give_up())
        lock.release()
        assert lock.acquire(blocking=False)
        lock.release()

    def test_what_is_raised_inside_frees_it(self, cache: StrataKVCache) -> None:
        async def fail() -> None:
            async with cache.alock("k"):
                raise LookupError

        with pytest.raises(LookupError):
            asyncio.run(fail())
        assert not cache.lock("k").locked()

    def test_it_opens_the_store(self, make_cache: MakeCache) -> None:
        cache = make_cache()

        async def hold() -> bool:
            async with cache.alock("k"):
                return cache.lock("k").locked()

        assert asyncio.run(hold())
