"""A time limit that strikes in the midst of a cache call is for whoever has set it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from stratakv.files import Files
from stratakv_django.cache import StrataKVCache
from stratakv_django.interruptions import is_from_a_signal
from tests.django.conftest import MakeCache

LIMITS = [RuntimeError, TimeoutError]  # the second one is an OSError


class Slow:
    """Takes so long to unpickle that a time limit strikes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _strike, ()


def _strike() -> str:
    signal.raise_signal(signal.SIGALRM)
    return "in time"


class Large:
    """Does not fit in the memory that there is just now."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _exhaust, ()


def _exhaust() -> None:
    raise MemoryError


@pytest.fixture
def handle() -> Iterator[Callable[[Any], None]]:
    """Sets what handles SIGALRM."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGALRM, before)


def raising(error: type[Exception]) -> Callable[..., None]:
    def handler(*_: object) -> None:
        raise error("too slow")

    return handler


@pytest.mark.parametrize("error", LIMITS)
@pytest.mark.parametrize(
    "read",
    [
        lambda cache: cache.get("key"),
        lambda cache: cache.get_many(["key"]),
        lambda cache: cache.incr("key"),
        lambda cache: cache.get_or_set("key", "another"),
    ],
    ids=["get", "get_many", "incr", "get_or_set"],
)
def test_an_entry_that_takes_too_long_is_no_bad_one(
    cache: StrataKVCache,
    handle: Callable[[Any], None],
    read: Callable[[StrataKVCache], object],
    error: type[Exception],
) -> None:
    cache.set("key", Slow())
    handle(raising(error))
    with pytest.raises(error, match="too slow"):
        read(cache)
    handle(lambda *_: None)
    assert cache.get("key") == "in time"


def test_nor_is_one_for_which_there_is_no_memory(cache: StrataKVCache) -> None:
    cache.set("key", Large())
    with pytest.raises(MemoryError):
        cache.get("key")
    assert "key" in cache


def test_a_limit_while_the_disk_is_slow_is_no_error_of_the_disk(
    make_cache: MakeCache, handle: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(OPTIONS={"strict": False, "durability": "always"})
    cache.set("key", "before")

    def slow(fd: int) -> None:
        signal.raise_signal(signal.SIGALRM)

    handle(raising(TimeoutError))
    with monkeypatch.context() as patch:
        patch.setattr(Files, "fdatasync", staticmethod(slow))
        with pytest.raises(TimeoutError):
            cache.set("key", "after")
    assert cache.get("key") == "after", "it was committed"
    cache.set("key", "again")
    assert sum(cache.incidents().values()) == 0


class Limit:
    """Handlers of all forms."""

    def method(self, signum: int, frame: object) -> None:
        raise TimeoutError

    def __call__(self, signum: int, frame: object) -> None:
        raise TimeoutError


def _with_more(why: str, signum: int, frame: object) -> None:
    raise TimeoutError(why)


@pytest.mark.parametrize(
    "handler",
    [raising(TimeoutError), Limit().method, Limit(), partial(_with_more, "too slow")],
    ids=["function", "method", "object", "partial"],
)
def test_any_handler_is_known(handle: Callable[[Any], None], handler: Any) -> None:
    handle(handler)
    with pytest.raises(TimeoutError) as caught:
        signal.raise_signal(signal.SIGALRM)
    assert is_from_a_signal(caught.value)


def test_what_no_handler_has_raised(handle: Callable[[Any], None]) -> None:
    handle(raising(TimeoutError))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is the frames that matter
        signal.Signals(10**6)  # through the class of enumerations, whose code SIG_DFL's would be
    assert not is_from_a_signal(caught.value)
    assert not is_from_a_signal(TimeoutError())
