"""A trace replayed on a real store: what a cache in front of something slow would do.

Each request is a get, and a miss is followed by a put. Maintenance runs in the same thread, whenever a
segment was sealed, so that a replay comes out the same each time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import stratakv

VALUE_BYTES = 1024
_VALUE = bytes(VALUE_BYTES)

# A rehearsal puts so many times the objects that are to be held: by then the store has been full for long.
_REHEARSAL = 5
# The budgets to choose from, in bytes for each object: the least never holds too many, as each takes a KiB.
_LEAST, _MOST = VALUE_BYTES * 11 // 10, VALUE_BYTES * 5 // 2
_HALVINGS = 7


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of one replay. max_bytes: the budget. peak: the most objects that were held at any moment."""

    max_bytes: int
    hit_ratio: float
    peak: int


def replay(requests: Sequence[bytes], place: Path, max_bytes: int, puts: int | None = None) -> Replay:
    """Replay `requests` on a new store in `place` with a budget; the store is removed again.

    puts: after how many to end, None for never.
    """
    with (
        tempfile.TemporaryDirectory(dir=place) as path,
        stratakv.open(path, durability="os", maintenance="manual", max_bytes=max_bytes) as db,
    ):
        hits, peak = _request_all(db, requests, len(requests) if puts is None else puts)
    return Replay(max_bytes, hits / len(requests), peak)


def _request_all(db: stratakv.DB, requests: Sequence[bytes], puts: int) -> tuple[int, int]:
    """Return how many of `requests` were hits, and the most objects that were held at any moment."""
    manifest = db.path / "MANIFEST"
    installed = manifest.stat().st_ino
    get, put = db.get, db.put
    hits = held = peak = 0
    for key in requests:
        if get(key) is not None:
            hits += 1
            continue
        if not puts:
            break
        puts -= 1
        put(key, _VALUE)
        held += 1
        # A put that seals a segment installs a manifest: another file, as the one before is kept beside it.
        # To ask for `stats` each time would take most of the time of a replay.
        if manifest.stat().st_ino != installed:
            peak = max(peak, held)
            db.maintain()
            held = db.stats().keys
            installed = manifest.stat().st_ino
    return hits, max(peak, held)


def fit(attempt: Callable[[int, int | None], Replay], objects: int) -> Replay:
    """Return the replay with about the largest budget that never holds more than `objects`.

    A store's budget is in bytes of disk, so the right one is found by trial, first on the beginning of the
    trace alone. attempt: replays with a budget, up to so many puts.
    """
    low, high = objects * _LEAST, objects * _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) // 2
        if attempt(middle, objects * _REHEARSAL).peak <= objects:
            low = middle
        else:
            high = middle
    found = attempt(low, None)
    while found.peak > objects:
        found = attempt(found.max_bytes * 99 // 100, None)
    return found
