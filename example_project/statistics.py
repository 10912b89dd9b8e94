"""What the site asked of its cache, counted in the cache itself: one count for all processes and restarts."""

from contextlib import suppress

from django.core.cache import cache

import stratakv
from example_project.compile_cache import Answer


def count(answer: Answer) -> None:
    """Add one answer to the site's counters."""
    _add(answer.state, 1)
    if answer.state != "miss":
        _add("saved_ms", round(answer.result.milliseconds))


def _add(name: str, amount: int) -> None:
    key = f"count:{name}"
    cache.add(key, 0, None)
    # A cache that keeps nothing, or a full disk: an answer matters more than its count.
    with suppress(ValueError):
        cache.incr(key, amount)


def counts() -> dict[str, int]:
    """Answers by state, and the milliseconds of compiling and running that hits have saved."""
    names = ("hit", "joined", "miss", "saved_ms")
    found = cache.get_many([f"count:{name}" for name in names])
    return {name: found.get(f"count:{name}", 0) for name in names}


def engine() -> stratakv.Stats | None:
    """The engine's own figures; None for a backend that has none, or a store that can't be read."""
    stats = getattr(cache, "stats", None)
    with suppress(stratakv.StrataKVError):
        return stats() if stats else None
    return None
