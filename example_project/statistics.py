"""What the site asked of its cache, counted in the cache itself: one count for all processes and restarts."""

import dataclasses

from django.core.cache import cache

from example_project.compile_cache import Answer


def count(answer: Answer) -> None:
    """Add one answer to the site's counters."""
    _add(answer.state, 1)
    if answer.state != "miss":
        _add("saved_ms", round(answer.result.milliseconds))


def _add(name: str, amount: int) -> None:
    key = f"count:{name}"
    cache.add(key, 0, None)
    cache.incr(key, amount)


def counts() -> dict[str, int]:
    """Answers by state, and the milliseconds of compiling and running that hits have saved."""
    names = ("hit", "joined", "miss", "saved_ms")
    found = cache.get_many([f"count:{name}" for name in names])
    return {name: found.get(f"count:{name}", 0) for name in names}


def engine() -> dict[str, int | float]:
    """The engine's own figures; empty for a cache backend that has none."""
    stats = getattr(cache, "stats", None)
    figures = dataclasses.asdict(stats()) if stats else {}
    return {name: figure for name, figure in figures.items() if isinstance(figure, int | float)}
