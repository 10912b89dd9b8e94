"""`python -m benchmarks django`: the cache backend beside LocMemCache and diskcache, through Django's API."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import caches

from benchmarks import report
from benchmarks.comparison import Comparison, compare
from benchmarks.peers import DISKCACHE_FASTEST, NO_LIMIT, CallPeer, Peer, described
from benchmarks.workload import random_text
from stratakv_django import handles


def run(
    directory: Path, keys: int, value_characters: int, rounds: int, progress: Callable[[str], None]
) -> Comparison:
    """Compare the backends, those with files below `directory`; configures Django, so once a process."""
    settings.configure(SECRET_KEY=secrets.token_hex(), CACHES=_caches(directory, keys))
    with ExitStack() as stack:
        stack.callback(handles.close_all)
        racing = [
            stack.enter_context(closing(peer))
            for peer in (
                _peer("StrataKVCache", 'defaults: durability="interval"'),
                _peer("LocMemCache", "MAX_ENTRIES so large that nothing is culled"),
                _peer("DjangoCache", f"diskcache's: {described(DISKCACHE_FASTEST)}, no size limit, SHARDS=8"),
            )
        ]
        machine = report.machine("stratakv", "Django", "diskcache")
        return compare("django", racing, random_text(keys, value_characters, rounds), machine, progress)


def _caches(directory: Path, keys: int) -> dict[str, dict[str, Any]]:
    """Return CACHES; each alias is the name of its peer."""
    return {
        "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "StrataKVCache": {
            "BACKEND": "stratakv_django.cache.StrataKVCache",
            "LOCATION": str(directory / "stratakv"),
        },
        "LocMemCache": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": keys + 1},
        },
        "DjangoCache": {
            "BACKEND": "diskcache.DjangoCache",
            "LOCATION": str(directory / "diskcache"),
            "OPTIONS": {"size_limit": NO_LIMIT, **DISKCACHE_FASTEST},
        },
    }


def _peer(alias: str, description: str) -> Peer:
    cache = caches[alias]
    return CallPeer(alias, description, put=cache.set, get=cache.get, delete=cache.delete, close=cache.close)
