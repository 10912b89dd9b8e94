"""A writing process is killed at random moments; whatever it was told was stored must be there afterwards."""

from __future__ import annotations

import os
import random
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import stratakv
from tests.support.children import Child

KILLS = 1000
_PATIENCE = 60  # seconds
OPTIONS = {"durability": "os", "segment_bytes": 16 * 1024}

Change = dict[bytes, bytes | None]
_ACK = struct.Struct("<Q")


def changes(seed: int) -> Iterator[tuple[str, Change]]:
    """Yield what a writer does, one commit after the other; the same for the same seed."""
    chance = random.Random(seed)
    while True:
        kind = chance.choices(["put", "batch", "delete", "clear", "compact"], [60, 25, 12, 1, 2])[0]
        count = chance.randint(2, 12) if kind == "batch" else 1
        keys = [b"key-%d" % chance.randrange(40) for _ in range(count)]
        if kind == "delete":
            yield kind, {keys[0]: None}
        elif kind in ("clear", "compact"):
            yield kind, {}
        else:
            yield kind, {key: chance.randbytes(chance.choice([0, 10, 200, 3000])) for key in keys}


def write(path: Path, seed: int, acknowledged: int) -> None:
    """Make one change after the other, and say so after each."""
    db = stratakv.open(path, **OPTIONS)
    for kind, change in changes(seed):
        if kind == "clear":
            db.clear()
        elif kind == "compact":
            db.compact()
        elif kind == "delete":
            db.delete(*change)
        elif kind == "put":
            ((key, value),) = change.items()
            assert value is not None
            db.put(key, value)
        else:
            db.put_many({key: value for key, value in change.items() if value is not None})
        os.write(acknowledged, _ACK.pack(1))


def after(state: dict[bytes, bytes], kind: str, change: Change) -> dict[bytes, bytes]:
    """Return the state that follows; pure."""
    if kind == "clear":
        return {}
    following = {**state, **{key: value for key, value in change.items() if value is not None}}
    return {key: value for key, value in following.items() if change.get(key, b"") is not None}


def killed_writer(path: Path, seed: int, seconds: float) -> int:
    """Let a process write and kill it; return how many changes it acknowledged.

    seconds: until then, from its beginning or, every second time, from its first change, however slow all is.
    """
    receive, send = os.pipe()
    child = Child(lambda: write(path, seed, send))
    os.close(send)
    if seed % 2:
        poll = select.poll()  # `select` takes no descriptor beyond 1,023
        poll.register(receive, select.POLLIN)
        poll.poll(_PATIENCE * 1000)
    time.sleep(seconds)
    child.kill()
    with os.fdopen(receive, "rb") as pipe:
        return len(pipe.read()) // _ACK.size


def expect(found: dict[bytes, bytes], before: dict[bytes, bytes], seed: int, acknowledged: int) -> str:
    """Return "" where `found` is the state after all acknowledged changes, or after one more."""
    state, stream = before, changes(seed)
    for _ in range(acknowledged):
        state = after(state, *next(stream))
    kind, change = next(stream)
    if found in (state, after(state, kind, change)):
        return ""
    wrong = {key for key in {*found, *state} if found.get(key) != state.get(key)}
    return f"after {acknowledged} changes and a {kind}: wrong {sorted(wrong)}"


@pytest.mark.parametrize("stays_open", [False, True], ids=["reopened", "seen-by-another"])
def test_everything_acknowledged_survives_a_thousand_kills(tmp_path: Path, stays_open: bool) -> None:
    """Half of the kills are seen by a process that opens the store, half by one that had it open."""
    chance = random.Random(2)
    state: dict[bytes, bytes] = {}
    acknowledged_in_all = 0
    watcher = stratakv.open(tmp_path / "store", **OPTIONS) if stays_open else None
    for seed in range(KILLS // 2):
        acknowledged = killed_writer(tmp_path / "store", seed, chance.uniform(0.002, 0.03))
        acknowledged_in_all += acknowledged
        db = watcher or stratakv.open(tmp_path / "store", **OPTIONS)
        db.delete(b"not there")  # takes the writer lock where something is half done, and so heals it
        found = dict(db.scan())
        assert expect(found, state, seed, acknowledged) == ""
        assert found == {key: db.get(key) for key in found}
        if seed % 50 == 0:
            assert db.verify().damage == ()
        state = found
        if not watcher:
            db.close()
    assert acknowledged_in_all > KILLS  # they were killed at work, not before it
