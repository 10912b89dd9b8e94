"""Makes the golden folders of the format that this version writes: `python -m tests.golden.make`.

One store for each state in which a directory may be found, and beside it, as JSON, what is in it. What was
made for a released format is never made again: see docs/format.md.
"""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import stratakv
from stratakv import DB
from stratakv import open_stores as stores
from stratakv.directory import FORMAT, LOCK_NAMES
from stratakv.files import Files

HERE = Path(__file__).parent
NOW = 1_800_000_000.0
BOOT = 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210
OPTIONS = {"durability": "always", "maintenance": "manual", "segment_bytes": 4096}
EVICTED = [b"evicted-%d" % number for number in range(300)]


class SteadyFiles(Files):
    """An operating system where the boot, the process and what is drawn at random are always the same."""

    def __init__(self, boot: int = BOOT) -> None:
        self._boot = boot
        self._drawn = count(0x5EED)

    def boot_id(self) -> int:
        return self._boot

    def process(self) -> int:
        return 4242

    def is_running(self, process: int) -> bool:
        return False

    def random_u32(self) -> int:
        return next(self._drawn)


@contextmanager
def machine(boot: int = BOOT) -> Iterator[None]:
    """Let stores be opened in this boot, while the clock stands still."""
    files = SteadyFiles(boot)
    recovering = importlib.import_module("stratakv.recover")  # the attribute of that name is the function
    with (
        mock.patch.object(stores, "Files", return_value=files),
        mock.patch.object(recovering, "Files", return_value=files),
        mock.patch("time.time", return_value=NOW),
    ):
        yield


# -- what there is in them -------------------------------------------------------------------------------


def _active(db: DB) -> None:
    """Everything that a log may hold, in the one that is being written."""
    db.put(b"plain", b"value")
    db.put(b"empty", b"")
    db.put(bytes(range(256)), bytes(range(255, -1, -1)))
    db.put(b"overwritten", b"old")
    db.put(b"overwritten", b"new")
    db.put(b"deleted", b"value")
    db.delete(b"deleted")
    db.put(b"expired", b"value", ttl=0)
    db.put(b"ttl", b"value", ttl=12.5)
    db.put(b"long-ttl", b"value", ttl=10**9)
    db.put_many({b"batch-%d" % number: b"%d" % number for number in range(3)})
    with db.transaction() as tx:
        tx.delete(b"batch-1")
        tx.put(b"batch-3", b"3")


def _seal(db: DB, word: bytes) -> None:
    """Write until a segment is sealed."""
    before = db.stats().segments[0].number
    for number in count():
        db.put(b"%s-%02d" % (word, number), word * 40)
        if db.stats().segments[0].number > before:
            return


def _young(db: DB) -> None:
    _active(db)
    _seal(db, b"one")
    db.put(b"plain", b"newer")
    db.delete(b"one-03")
    _seal(db, b"two")
    db.put(b"last", b"value")


def _finished(db: DB) -> None:
    _young(db)
    db.maintain()


def _merged(db: DB) -> None:
    """Seven segments above a merged one, joined by maintenance: their tombstones must stay."""
    _young(db)
    db.compact()
    for word in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
        db.delete(b"one-0%d" % (ord(word) - ord("a")))
        _seal(db, word)
    db.maintain()


def _ranges(db: DB) -> None:
    _young(db)
    db.delete_prefix(b"one-")
    db.put(b"one-05", b"back")
    _seal(db, b"three")
    db.delete_prefix(b"two-1")
    db.delete_prefix(b"three-0")


def _budget(db: DB) -> None:
    """What was evicted is left out of the folder, to keep it small, and in GHOSTS."""
    for key in EVICTED:
        db.put(key, bytes(1000))
        db.maintain()
    db.clear()
    _young(db)
    for _ in range(3):
        db.get(b"one-05")
        db.get(b"last")
    db.maintain()


CASES: dict[str, tuple[Callable[[DB], None], dict[str, Any]]] = {
    "active": (_active, {}),
    "young": (_young, {}),
    "finished": (_finished, {}),
    "merged": (_merged, {}),
    "ranges": (_ranges, {}),
    "budget": (_budget, {"max_bytes": 2**18}),
    "killed": (_young, {}),
}


# -- made and described ----------------------------------------------------------------------------------


def make(case: str, target: Path) -> None:
    """Make a store in `target`, closed by its last user, but for "killed", which is left as it was in use."""
    fill, options = CASES[case]
    with tempfile.TemporaryDirectory() as scratch, machine():
        path = Path(scratch) / "store"
        with stratakv.open(path, **OPTIONS, **options) as db:
            fill(db)
            target.with_suffix(".json").write_text(_as_json(describe(db)))
            if case == "killed":
                _copy(path, target)
        if case != "killed":
            _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in path.iterdir():
        if file.name not in LOCK_NAMES:
            shutil.copyfile(file, target / file.name)


def describe(db: DB) -> dict[str, list[list[Any]]]:
    """Return what can be read from a store, in the order of a scan, as JSON can hold it."""
    return {
        "entries": [
            [key.decode("latin-1"), value.decode("latin-1"), db.ttl(key)] for key, value in db.scan()
        ],
        "segments": [
            [each.number, each.kind, each.log_bytes, each.keys, each.dead_bytes, each.age]
            for each in db.stats().segments
        ],
    }


def _as_json(described: dict[str, list[list[Any]]]) -> str:
    """One line for each item: a folder that is added is looked through by people, too."""
    parts = (
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"
        for name, items in described.items()
    )
    return "{" + ",\n".join(parts) + "}\n"


def main() -> None:
    folder = HERE / f"v{FORMAT}"
    folder.mkdir(exist_ok=True)
    for case in CASES:
        make(case, folder / case)


if __name__ == "__main__":
    main()
