"""The `a*` methods: inline where the call cannot block the event loop, in threads of our own where it can.

Reads never wait for anybody, and writes that are not fsynced wait microseconds: a thread would cost many
times the call. What can block is opening the store, a write that waits for the disk, and what walks over
all keys. Django's way, `sync_to_async(thread_sensitive=True)`, would queue it behind the site's other
synchronous code. It is for what needs it: pickling a lazy queryset, or unpickling an object of the site's,
may ask the database, and only that code's thread sees what its transaction has not committed yet.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import lru_cache, partial
from typing import Any, Literal, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import SynchronousOnlyOperation
from django.db import close_old_connections

import stratakv
from stratakv_django.backoff import pauses
from stratakv_django.sync_calls import SyncCalls
from stratakv_django.tolerance import STORAGE_ERRORS

P = ParamSpec("P")
T = TypeVar("T")
_Work = Literal["store", "compute"]

# Whether this is one of the threads that make values.
is_computing: ContextVar[bool] = ContextVar("is_computing", default=False)

_MOST_THREADS = 32  # of each kind; they start as they are needed


@lru_cache
def _threads(work: _Work, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process for one kind of work, so that slow values do not hold up the store.

    process: its id. A forked child has none of the threads of its parent, and must not hand them work.
    """
    return ThreadPoolExecutor(_MOST_THREADS, f"stratakv-{work}")


async def _in_thread(work: _Work, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    threads = _threads(work, os.getpid())
    run = partial(copy_context().run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, _leaving_no_connection, run)


async def in_compute_thread(call: Callable[[], T]) -> T:
    """Call what makes a value, for however long that takes, without holding up the store's calls."""
    return await _in_thread("compute", _compute, call)


def _compute(call: Callable[[], T]) -> T:
    is_computing.set(True)
    try:
        return call()
    except StopIteration as stopped:  # before Python 3.13 it would never reach whoever awaits it
        raise RuntimeError("the function raised StopIteration") from stopped


def _leaving_no_connection(run: Callable[[], T]) -> T:
    """Call `run`, which may use the database, and close connections as Django does after a request."""
    try:
        return run()
    finally:
        close_old_connections()


class AsyncCalls(SyncCalls):
    """The same with `a*` methods that call their synchronous twins."""

    async def _is_open(self) -> bool:
        """Open the store, in a thread; return whether that was possible. If not, each call will say so."""
        if self._store.handle is None:
            with suppress(*STORAGE_ERRORS):
                await _in_thread("store", self._open)
        return self._store.handle is not None

    async def _read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not await self._is_open():
            return await _in_thread("store", call, *args, **kwargs)
        try:
            return call(*args, **kwargs)
        except SynchronousOnlyOperation:  # unpickling asks the database
            return await sync_to_async(call)(*args, **kwargs)

    async def _write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not await self._is_open() or self._writes_can_block:
            return await _in_thread("store", call, *args, **kwargs)
        try:
            return call(*args, **kwargs)
        except SynchronousOnlyOperation:  # pickling a lazy queryset: nothing was written yet
            return await sync_to_async(call)(*args, **kwargs)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return await self._read(self.get, key, default, version)

    async def aset(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        await self._write(self.set, key, value, timeout, version)

    async def aadd(
        self, key: Any, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return await self._write(self.add, key, value, timeout, version)

    async def atouch(
        self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return await self._write(self.touch, key, timeout, version)

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        return await self._write(self.delete, key, version)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        return await self._read(self.has_key, key, version)

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return await self._read(self.get_many, list(keys), version)  # they may be asked for twice

    async def aset_many(
        self, data: dict[Any, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        return await self._write(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        await self._write(self.delete_many, keys, version)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._write(self.incr, key, delta, version)

    async def adecr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._write(self.decr, key, delta, version)

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._write(self.incr_version, key, delta, version)

    async def adecr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await self._write(self.decr_version, key, delta, version)

    async def attl(self, key: Any, version: int | None = None) -> float | None:
        """Return what `ttl` does."""
        return await self._read(self.ttl, key, version)

    async def adelete_prefix(self, prefix: str, version: int | None = None) -> None:
        """Do what `delete_prefix` does."""
        await _in_thread("store", self.delete_prefix, prefix, version)

    @asynccontextmanager
    async def alock(self, key: Any, version: int | None = None) -> AsyncIterator[None]:
        """Hold the lock that `lock` returns, for an `async with` block; other tasks go on meanwhile.

        `asyncio.timeout` bounds the wait. The errors of the lock are raised, always.
        """
        await self._is_open()
        lock = self.lock(key, version)
        for pause in pauses():
            if lock.acquire(blocking=False):
                break
            await asyncio.sleep(pause)
        try:
            yield
        finally:
            with suppress(stratakv.LockError):  # a child that was forked in the block does not hold it
                lock.release()

    async def aclear(self) -> None:
        await _in_thread("store", self.clear)

    async def aclose(self, **kwargs: Any) -> None:
        """Do what `close` does, which takes microseconds."""
        self.close()
