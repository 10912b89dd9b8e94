"""`python -m benchmarks django`: the cache backend beside others, through Django's API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from benchmarks import servers
from benchmarks.caches import CANDIDATES
from benchmarks.contest import Contest
from benchmarks.rounds import Round
from benchmarks.workload import Workload, random_text

_MANY = 100
_HEADER = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class CacheWorkload(Workload[str]):
    """Text as values; then many keys at a time, and a rendered fragment as a value that must be pickled."""

    def operations(self) -> dict[str, list[Round]]:
        single = Workload.operations(self)
        fragments = [(key, _fragment(value)) for key, (_, value) in zip(self.absent, self.items, strict=True)]
        batches = [_batches(items) for items in self._cut(self.items)]
        stored = self._cut(fragments)
        return {
            "set": single["put"],
            "get": single["get"],
            "miss": single["miss"],
            "delete": single["delete"],
            f"set_many of {_MANY}": [Round("put_many", [dict(b) for b in each], None) for each in batches],
            f"get_many of {_MANY}": [
                Round("get_many", [[key for key, _ in b] for b in each], dict(each[-1])) for each in batches
            ],
            "set fragment": [Round("put", items, None) for items in stored],
            "get fragment": [Round("get", [key for key, _ in each], each[-1][1]) for each in stored],
        }


def _batches(items: Sequence[tuple[str, str]]) -> list[Sequence[tuple[str, str]]]:
    """Cut into batches of the same size; what is left over at the end is left out."""
    return [items[at : at + _MANY] for at in range(0, max(1, len(items) - _MANY + 1), _MANY)]


def _fragment(text: str) -> dict[str, Any]:
    """Return what a view might keep of what it has rendered."""
    return {"content": SafeString(text), "headers": {"Content-Type": _HEADER}, "status": 200}


def _work(keys: int, value_bytes: int, rounds: int) -> CacheWorkload:
    text = random_text(keys, value_bytes, rounds)
    return CacheWorkload(text.items, text.absent, text.rounds)


_PACKAGES = ("Django", "diskcache", "redis", "hiredis", "django-redis", "pymemcache")
CONTEST = Contest("django", CANDIDATES, _work, _PACKAGES, servers.versions)
