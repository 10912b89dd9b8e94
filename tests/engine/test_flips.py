"""One bit flipped anywhere in any file of a closed, a killed or a rebooted store, which is then opened.

What comes out is the right value, a miss that was counted or logged, or an error of ours: never a wrong
value, and never another exception. By default one bit of each byte is flipped, a different one from byte to
byte, and of each fourth byte of what is large and nearly empty: indexes that are made for writers, and
ghosts. STRATAKV_FLIPS=all flips all bits of all bytes, which takes half an hour.

After a reboot the log that was being written may end anywhere behind the last sync: a flipped bit in it looks
like a torn tail, and the store is then as it was at some moment, which is checked.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from stratakv import DB, CorruptionError, DirectoryError
from stratakv.maintenance import plan
from tests.engine.before import Before
from tests.engine.conftest import Open
from tests.engine.free_bits import CONTROL_HINTS, CONTROL_WORDS
from tests.engine.machine import Machine, flip, rotate

BITS = range(8) if os.environ.get("STRATAKV_FLIPS") == "all" else None
Model = dict[bytes, bytes]
DELETED = (b"deleted", b"expired", b"range:1", b"evicted:1")
_LARGE = 1000  # bytes


@pytest.fixture
def path(fast: Path, request: pytest.FixtureRequest) -> Path:
    return fast / str(abs(hash(request.node.nodeid)))


def fill(db: DB) -> list[Model]:
    """Put older and newer versions into a main, a finished, a sealed and an active segment.

    Returns what was live after each commit.
    """
    history: list[Model] = []

    def keep() -> None:
        history.append(dict(db.scan()))

    for key in (b"a", b"b", b"c", b"d", b"e", *DELETED[:3]):
        db.put(key, b"old " + key)
    db.compact()
    db.put(b"b", b"middle b")
    db.put(b"c", b"middle c")
    db.delete_prefix(b"range:")
    db.put(b"d", b"middle d")
    rotate(db)
    db.maintain()
    keep()
    db.delete(b"deleted")
    keep()
    db.put(b"c", b"young c")
    keep()
    db.put(b"expired", b"new", ttl=0)
    rotate(db)
    db.sync()
    db.put(b"a", b"dropped a")
    keep()
    db.put(b"a", b"new a")
    keep()
    db.put_many({b"d": b"new d", b"f": b"new f"})
    keep()
    db.delete(b"e")
    keep()
    return history


def evict(open_: Open) -> None:
    """Give the store a budget, and ghosts; what is left of this is deleted."""
    with open_(max_bytes=2**18, segment_bytes=8192) as db:
        for number in range(400):
            db.put(b"evicted:%d" % number, bytes(1000))
        db.maintain()
        assert db.stats().evicted_keys > 100
        db.delete_prefix(b"evicted:")
        db.compact()


@dataclass
class Store:
    before: Before
    history: list[Model]


@pytest.fixture
def store(
    open_: Open, path: Path, machine: Machine, state: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> Store:
    if kind == "GHOSTS":
        evict(open_)
    if kind == "SIEVE":
        for name in ("_MANY", "_MANY_KEYS", "_UNSIEVED"):
            monkeypatch.setattr(plan, name, 1)
        open_(max_bytes=2**22).close()
    db = open_()
    history = fill(db)
    if kind == "SIEVE":
        db.maintain()
    if state == "closed":
        db.close()
        return Store(Before(path), history)
    before = Before(path)
    machine.bury(db)
    return Store(before, history)


def places(store: Store, kind: str) -> Iterator[tuple[str, int, int]]:
    """Yield file, byte and bit of each flip."""
    files = store.before.files
    for name in sorted(files):
        suffix = Path(name).suffix or name
        if suffix != kind and name != kind:
            continue
        size = len(files[name])
        if kind == ".log":
            size = min(size, len(files[name].rstrip(b"\0")) + 8)
        whole = CONTROL_WORDS if kind == "CONTROL" else 0  # up to here, all bits of all bytes
        if kind == "CONTROL":
            size = CONTROL_HINTS
        roomy = (size > _LARGE and kind in (".idx", "GHOSTS")) or kind == "CONTROL"
        for offset in chain(range(whole), range(whole, size, 4 if roomy and not BITS else 1)):
            for bit in BITS or (range(8) if offset < whole else [(offset * 5 + 3) % 8]):
                yield name, offset, bit


def answers(db: DB, model: Model) -> set[str]:
    """Ask the store in every way; return what kinds of answers there were."""
    kinds = set()
    for key in (*model, *DELETED):
        value = db.get(key)
        assert value in (model.get(key), None), (key, value)
        kinds.add("right" if value == model.get(key) else "miss")
        assert db.get_many([key]).get(key) == value
    for key, value in db.scan():
        assert model.get(key) == value, (key, value)
        assert db.get(key) == value
    assert set(db.keys()) <= {key for key in model if db.get(key)}
    return kinds


@pytest.mark.parametrize(
    "kind", ["MANIFEST", "MANIFEST.old", "CONTROL", "FORMAT", "GHOSTS", "SIEVE", ".log", ".idx"]
)
@pytest.mark.parametrize("state", ["closed", "killed", "rebooted"])
def test_no_flip_gives_a_wrong_value(
    store: Store, open_: Open, machine: Machine, damage_log: list[str], state: str, kind: str
) -> None:
    counts: Counter[str] = Counter()
    boot = machine.boot
    for number, (name, offset, bit) in enumerate(places(store, kind)):
        if number % 200 == 0:
            gc.collect()  # what could not be opened, and the dead, leave their files to it
        machine.boot = boot + (state == "rebooted")
        store.before.restore()
        flip(store.before.path / name, offset, bit)
        damage_log.clear()
        try:
            db = open_()
        except (CorruptionError, DirectoryError):
            counts["error"] += 1
            continue
        model = store.history[-1]
        if state == "rebooted" and damage_log:
            model = dict(db.scan())  # of some moment
            assert any(model.items() <= moment.items() for moment in store.history), (name, offset, bit)
        try:
            kinds = answers(db, model)
        except AssertionError as wrong:
            raise AssertionError((name, offset, bit, damage_log)) from wrong
        if "miss" in kinds:
            assert damage_log, (name, offset, bit)
            assert state == "rebooted" or db.stats().damaged_reads, (name, offset, bit)
        counts["miss" if "miss" in kinds else "right"] += 1
        db.put(b"after", b"it goes on")
        assert db.get(b"after") == b"it goes on"
        if kind == "GHOSTS":
            db.put(b"evicted:1", b"it is back")
            assert db.get(b"evicted:1") == b"it is back"
        machine.bury(db)
    print(f"{state}, {kind}: {dict(counts)}")
    assert counts
