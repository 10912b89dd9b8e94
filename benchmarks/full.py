"""`python -m benchmarks full`: caches that are full, so that each one has to choose what it keeps.

All are asked for the same keys, a few of them often. What is not there is put, as behind every cache, and
takes the place of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import sample

from rich.table import Table

import stratakv
from benchmarks import report, servers
from benchmarks.children import Child
from benchmarks.cost import seconds_of
from benchmarks.peers import Calls, Candidate, entrants, package
from benchmarks.spread import Spread
from benchmarks.workload import KEY_BYTES

_SHARE = 3  # all values are so many times what fits


@dataclass(frozen=True, slots=True)
class Keeping:
    """How one peer did. ratio: its requests a second divided by the reference's in the same round.

    microseconds: of a get that hits, of one that misses, of a put. cpu_us: processor time for one request,
    of all processes that take part.
    """

    peer: str
    per_second: Spread
    ratio: Spread
    hit_ratio: float
    microseconds: dict[str, float]
    cpu_us: float


@dataclass(frozen=True, slots=True)
class FullReport(report.Report):
    """What one run found out; the first of `caches` is the reference. absent: why others took no part."""

    settings: dict[str, str]
    absent: dict[str, str]
    caches: Sequence[Keeping]

    def table(self) -> Table:
        """Return a row for each peer."""
        table = report.titled_table(self.benchmark, self.parameters, self.settings, self.absent, self.machine)
        table.add_column("peer")
        operations = (f"{name}, µs" for name in self.caches[0].microseconds)
        for heading in ("requests/s", "ratio", "quartiles", "hit ratio", *operations, "CPU µs"):
            table.add_column(heading, justify="right")
        for each in self.caches:
            times = (report.digits(time) for time in (*each.microseconds.values(), each.cpu_us))
            speed = f"{each.per_second.median:,.0f}", *report.cells(each.ratio)
            table.add_row(each.peer, *speed, f"{each.hit_ratio:.3f}", *times)
        return table


def _strata(path: Path, max_bytes: int) -> Calls:
    db = stratakv.open(path, durability="os", max_bytes=max_bytes)
    return Calls(db.put, db.get, db.delete, db.close)


def _diskcache(policy: str) -> Callable[[Path, int], Calls]:
    def opened(path: Path, max_bytes: int) -> Calls:
        import diskcache  # type: ignore[import-untyped]

        cache = diskcache.Cache(str(path), size_limit=max_bytes, eviction_policy=policy, sqlite_synchronous=0)
        return Calls(cache.set, cache.get, cache.delete, cache.close)

    return opened


def _redis(path: Path, max_bytes: int) -> Calls:
    import redis

    client = redis.Redis(unix_socket_path=str(path))
    client.config_set("maxmemory", max_bytes)
    client.config_set("maxmemory-policy", "allkeys-lru")
    return Calls(client.set, client.get, client.delete, client.close)


_POLICIES = {"diskcache": "least-recently-stored", "diskcache LRU": "least-recently-used"}
CANDIDATES = (
    Candidate("StrataKV", 'durability="os"', _strata, package("stratakv")),
    *(
        Candidate(
            name,
            f"eviction_policy={policy!r}, sqlite_synchronous=0",
            _diskcache(policy),
            package("diskcache"),
        )
        for name, policy in _POLICIES.items()
    ),
    Candidate(
        "Redis",
        "redis-py and hiredis over a Unix socket; maxmemory-policy allkeys-lru, keeps nothing on disk",
        _redis,
        servers.needed(servers.redis_program, "redis-server", "redis", "hiredis"),
    ),
)


def run(
    place: Path,
    max_bytes: int,
    value_bytes: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> FullReport:
    """Fill each peer, and use it for some seconds in each of the rounds."""
    present, absent = entrants(CANDIDATES)
    keys = _SHARE * max_bytes // (KEY_BYTES + value_bytes)
    found: dict[str, list[dict[str, float]]] = {each.name: [] for each in present}
    with ExitStack() as stack:
        server = stack.enter_context(closing(servers.Redis())) if "Redis" in found else None
        paths = {each.name: place / each.name for each in present}
        if server:
            paths["Redis"] = Path(server.unix_socket)
        for turn in range(rounds + 1):
            for each in sample(present, len(present)):
                progress(f"round {turn}: {each.name}" if turn else f"{each.name}: is filled")
                process = server.pid if server and each.name == "Redis" else None
                before = seconds_of(process) if process else 0.0
                # The first turn is as long as it takes to ask for each key twice, on average.
                limit = (0, seconds) if turn else (2 * keys, 0.0)
                arguments = (each.name, paths[each.name], max_bytes, keys, value_bytes, *limit)
                with Child("asking", *arguments) as child:
                    child.begin()
                    one = child.result()
                one["cpu"] += seconds_of(process) - before if process else 0.0
                if turn:
                    found[each.name].append(one)
    base = [one["requests"] / one["seconds"] for one in found[present[0].name]]
    return FullReport(
        benchmark="full",
        parameters={"max_bytes": max_bytes, "keys": keys, "key_bytes": KEY_BYTES}
        | {"value_bytes": value_bytes, "rounds": rounds},
        machine=report.machine("stratakv", "diskcache", "redis", "hiredis") | servers.versions(),
        settings={each.name: each.settings for each in present},
        absent=absent,
        caches=[_keeping(peer, turns, base) for peer, turns in found.items()],
    )


def _keeping(peer: str, turns: Sequence[dict[str, float]], base: Sequence[float]) -> Keeping:
    per_second = [one["requests"] / one["seconds"] for one in turns]
    requests = sum(one["requests"] for one in turns)
    names = ("hit", "miss", "put")
    return Keeping(
        peer,
        Spread.of(per_second),
        Spread.of([its / ours for its, ours in zip(per_second, base, strict=True)]),
        sum(one["hits"] for one in turns) / requests,
        {name: Spread.of([one[name] for one in turns]).median for name in names},
        sum(one["cpu"] for one in turns) * 1e6 / requests,
    )
