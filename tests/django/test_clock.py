"""The wall clock is set while the site runs."""

from __future__ import annotations

import logging
import time

import pytest

from stratakv_django.cache import StrataKVCache
from stratakv_django.incidents import Incidents
from tests.django.conftest import MakeCache

HOUR, YEAR = 3600.0, 365 * 86_400.0
steps = pytest.mark.parametrize("step", [-YEAR, -HOUR, HOUR, YEAR], ids=["-year", "-hour", "hour", "year"])


class Clock:
    now = 1_800_000_000.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def test_back(clock: Clock, cache: StrataKVCache) -> None:
    """A timeout is kept longer by as much, and never shorter."""
    cache.set("page", 1, 60)
    clock.wait(-HOUR)
    cache.set("later", 1, 60)
    assert cache.get_many(["page", "later"]) == {"page": 1, "later": 1}
    clock.wait(61)
    assert cache.get_many(["page", "later"]) == {"page": 1}
    clock.wait(HOUR)
    assert cache.get("page") is None


def test_forward(clock: Clock, cache: StrataKVCache) -> None:
    """Everything with a timeout that was passed over is a miss, and can be filled again."""
    cache.set("page", 1, HOUR)
    cache.set("kept", 1, None)
    clock.wait(YEAR)
    assert cache.get_many(["page", "kept"]) == {"kept": 1}
    assert cache.add("page", 2, HOUR)
    assert cache.get_or_set("page", 3) == 2
    clock.wait(-YEAR)
    assert cache.get("page") == 2


@steps
def test_counters_and_versions(clock: Clock, cache: StrataKVCache, step: float) -> None:
    cache.set("n", 1, None)
    clock.wait(step)
    assert cache.incr("n") == 2
    assert cache.incr_version("n") == 2
    assert cache.get("n", version=2) == 2
    assert cache.touch("n", 60, version=2)
    clock.wait(61)
    assert cache.get("n", version=2) is None


@steps
def test_culling(clock: Clock, make_cache: MakeCache, step: float) -> None:
    """Oldest means written first, whatever the clock said then."""
    cache = make_cache(OPTIONS={"strict": True, "maintenance": "manual", "MAX_ENTRIES": 10})
    for number in range(15):
        cache.set(str(number), number, None)
        clock.wait(step)
    assert cache.get("14") == 14
    assert cache.get("0") is None


@steps
def test_reports_of_one_kind_stay_a_minute_apart(
    clock: Clock, caplog: pytest.LogCaptureFixture, step: float
) -> None:
    incidents = Incidents("store")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            incidents.record("read", OSError("no"))
            clock.wait(step)
    assert len(caplog.records) == 1
    assert incidents.counts()["read"] == 3
