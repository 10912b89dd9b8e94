"""`get_or_set` makes a value once: of all that miss a key at the same moment, one calls the function.

The others, in whatever thread or process they run, wait until it is done and read what was stored. Each waits
for one other at most: where nothing was stored, as the function raised, the value is too large or the disk is
full, each calls the function itself.
"""

from __future__ import annotations

import time
from asyncio import get_running_loop, sleep
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.cache.backends.base import DEFAULT_TIMEOUT

import stratakv
from stratakv_django import naming
from stratakv_django.async_calls import AsyncCalls, in_compute_thread, is_computing
from stratakv_django.backoff import pauses

LONGEST_WAIT = 60.0  # seconds; what takes longer may never end

# The locks that the caller holds: a function that needs the value it makes would wait for itself.
_held: ContextVar[frozenset[bytes]] = ContextVar("_held", default=frozenset())
# Those of the tasks of this process, one for each that is making a value.
_made_by_tasks: list[bytes] = []


class SingleFlight(AsyncCalls):
    """The same, whose `get_or_set` and `aget_or_set` call a function once for all that need its value."""

    def get_or_set(
        self, key: Any, default: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Return what is stored at `key`, else store `default` and return that.

        A callable is called for the value, once for all threads and processes that miss it at the moment.
        """
        value = self.get(key, self._missing_key, version)
        if value is not self._missing_key:
            return value
        with self._flight(key, default, timeout, version) as waits:
            for pause in waits if self._may_wait(key, version) else ():
                time.sleep(pause)
            if self.has_key(key, version):  # which counts no second miss
                value = self.get(key, self._missing_key, version)
            if value is self._missing_key:
                value = default() if callable(default) else default
                self.add(key, value, timeout, version)
                value = self.get(key, value, version)  # another caller may have been first
        return value

    async def aget_or_set(
        self, key: Any, default: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """As `get_or_set`; a coroutine function is awaited, any other callable runs in a thread."""
        value = await self.aget(key, self._missing_key, version)
        if value is not self._missing_key:
            return value
        with self._flight(key, default, timeout, version) as waits:
            for pause in waits:
                await sleep(pause)
            if await self.ahas_key(key, version):
                value = await self.aget(key, self._missing_key, version)
            if value is self._missing_key:
                value = await _made(default)
                await self.aadd(key, value, timeout, version)
                value = await self.aget(key, value, version)
        return value

    @contextmanager
    def _flight(
        self, key: Any, default: Any, timeout: float | None, version: int | None
    ) -> Iterator[Iterator[float]]:
        """Keep others from making the value while the block lasts, unless one of them makes it already.

        Yields the seconds to sleep, one after the other, for as long as one does.
        """
        ttl = self._ttl(timeout)
        is_kept = ttl is None or ttl > 0  # for what is not stored nobody need wait
        name = self._flight_name(key, version)
        store, lock, taken = self._store.handle, None, False
        can_write = not self._store.options.read_only
        if store and can_write and is_kept and callable(default) and name not in _held.get():
            with self._tolerance.block("write"):
                wanted = store.lock(name)
                taken = wanted.acquire(blocking=False)
                lock = wanted
        if lock is None or not taken:
            yield self._pauses(lock) if lock else iter(())
            return
        before = _held.set(_held.get() | {name})
        by_a_task = _is_on_a_loop()
        if by_a_task:
            _made_by_tasks.append(name)
        try:
            yield iter(())
        finally:
            if by_a_task:
                _made_by_tasks.remove(name)
            with suppress(stratakv.LockError):  # a child that the function has forked does not hold it
                lock.release()
            with suppress(ValueError):  # a coroutine that nobody awaits any more ends in another context
                _held.reset(before)

    def _may_wait(self, key: Any, version: int | None) -> bool:
        """Whether this thread may sleep until another caller has made a value.

        That of an event loop may not: the other may be one of its tasks. Nor may one that such a task may
        need: those that make values, and those that `sync_to_async` uses, as each call of the ORM does.
        """
        if _is_on_a_loop() or is_computing.get():
            return False
        return not (_serves_a_loop() and self._flight_name(key, version) in _made_by_tasks)

    def _flight_name(self, key: Any, version: int | None) -> bytes:
        return naming.of_flight(self._name(key, version))

    def _pauses(self, lock: stratakv.Lock) -> Iterator[float]:
        end = time.monotonic() + LONGEST_WAIT
        with self._tolerance.block("read"):
            for pause in pauses():
                if not lock.locked() or time.monotonic() >= end:
                    return
                yield pause


def _is_on_a_loop() -> bool:
    """Whether this is the thread of an event loop that runs."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def _serves_a_loop() -> bool:
    """Whether this thread runs what an event loop has given to `sync_to_async`.

    There is no public way to ask; a thread that did so once and belongs to no loop that runs does not count.
    """
    loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop is not None and loop.is_running()


async def _made(default: Any) -> Any:
    if iscoroutinefunction(default):
        return await default()
    value = await in_compute_thread(default) if callable(default) else default
    return await value if isawaitable(value) else value  # of a function that has called an asynchronous one
