"""Damage, and mistakes of an administrator, among real processes: an error or a miss at worst."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB, StrataKVError
from tests.support.children import Child

KEYS = [b"key %d" % number for number in range(300)]
LIMIT = 600  # seconds after which a child that hangs is ended by SIGALRM


def open_(path: Path, **options: Any) -> DB:
    return stratakv.open(
        path, **{"durability": "os", "segment_bytes": 64 * 1024, "maintenance": "manual", **options}
    )


def version(value: bytes | None) -> int | None:
    return None if value is None else int(value.partition(b" ")[0])


def fill(db: DB) -> None:
    """Put an older version of each key into a main segment, and a newer one into young ones."""
    for number in range(3):
        for key in KEYS:
            db.put(key, b"%d " % number + bytes(200))
        if number == 1:
            db.compact()


class Flag:
    """A file that tells other processes to go on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self) -> None:
        self._path.touch()

    def wait(self) -> None:
        while not self._path.exists():
            time.sleep(0.001)

    def __bool__(self) -> bool:
        return self._path.exists()


# -- repair under load ---------------------------------------------------------------------------------


def write(path: Path, stop: Flag) -> None:
    """Write each key again and again, with a version that rises."""
    signal.alarm(LIMIT)
    with open_(path) as db:
        number = 3
        while not stop:
            for key in KEYS:
                db.put(key, b"%d " % number + bytes(200))
                time.sleep(0.001)
            number += 1


def read(path: Path, stop: Flag) -> None:
    """Read each key again and again: a version never falls, though it may be missing."""
    signal.alarm(LIMIT)
    seen = dict.fromkeys(KEYS, 0)
    with open_(path) as db:
        while not stop:
            for key in KEYS:
                found = version(db.get(key))
                if found is not None:
                    assert found >= seen[key], (key, found, seen[key])
                    seen[key] = found
            for key, value in db.scan(prefix=b"key 1"):
                found = version(value)
                assert found is not None
                assert found >= seen[key] - 1, "as of the moment when the scan began"


def spoil(db: DB, numbers: random.Random) -> None:
    """Overwrite some bytes of a log or an index that is sealed, as a bad sector would."""
    sealed = [each for each in db._store.structure.current().sealed if each.path.exists()]
    if not sealed:
        return
    segment = numbers.choice(sealed)
    if numbers.random() < 0.7:
        file, first, end = segment.path, 72, segment.end
    else:
        file, first, end = segment.path.with_suffix(".idx"), 64, 88  # the words that seal it
    with suppress(FileNotFoundError), file.open("r+b") as opened:
        opened.seek(numbers.randrange(first, end))
        opened.write(numbers.randbytes(8))


def test_a_repair_while_others_read_and_write(tmp_path: Path) -> None:
    path, stop = tmp_path / "store", Flag(tmp_path / "stop")
    db = open_(path)
    fill(db)
    children = [Child(lambda: write(path, stop)), Child(lambda: read(path, stop))]
    numbers = random.Random(3)
    repaired = lost = 0
    try:
        for _ in range(40):
            spoil(db, numbers)
            report = db.verify(repair=True)
            assert report.ok, report.damage
            repaired += len(report.repaired)
            lost += report.lost_records
            time.sleep(0.05)
    finally:
        stop.set()
    assert [child.wait() for child in children] == [0, 0]
    assert repaired > 10
    print(f"{repaired} places repaired, {lost} records lost")
    assert db.verify().ok
    found = {key: version(value) for key, value in db.scan()}
    assert found == {key: v for key in KEYS if (v := version(db.get(key))) is not None}
    db.close()


# -- files taken away ----------------------------------------------------------------------------------


def use(db: DB) -> None:
    """Read and write; what can be read is right."""
    for key in KEYS[::10]:
        with suppress(StrataKVError):
            assert version(db.get(key)) in (2, 3, None)
    for step in (
        lambda: dict(db.scan()),
        lambda: set(db.keys()),
        lambda: db.put(KEYS[0], b"3 "),
        lambda: db.delete(KEYS[1]),
        db.stats,
        db.verify,
        db.maintain,
        db.compact,
        lambda: db.delete_prefix(b"key 2"),
        db.sync,
    ):
        with suppress(StrataKVError):
            step()


def stay(path: Path, ready: Flag, changed: Flag) -> None:
    signal.alarm(LIMIT)
    db = open_(path, max_bytes=2**22)
    ready.set()
    changed.wait()
    use(db)
    with suppress(StrataKVError):
        db.close()


def come(path: Path) -> None:
    signal.alarm(LIMIT)
    with suppress(StrataKVError), open_(path, max_bytes=2**22) as db:
        use(db)


def files(path: Path) -> dict[str, Path]:
    logs = sorted(path.glob("*.log"))
    return {
        "active log": logs[-1],
        "sealed log": logs[-2],
        "active index": logs[-1].with_suffix(".idx"),
        "sealed index": logs[-2].with_suffix(".idx"),
    } | {name: path / name for name in ("MANIFEST", "CONTROL", "FORMAT", "attach.lock", "writer.lock")}


def replace(file: Path, data: bytes) -> None:
    """Put other bytes under a name, as `mv` does: to cut a file that is mapped is another matter."""
    with suppress(FileNotFoundError):
        file.unlink()
    file.write_bytes(data)


def make_directory(file: Path, _older: bytes) -> None:
    with suppress(FileNotFoundError):
        file.unlink()
    file.mkdir()


CHANGES: dict[str, Callable[[Path, bytes], None]] = {
    "deleted": lambda file, older: file.unlink(missing_ok=True),
    "empty": lambda file, older: replace(file, b""),
    "garbage": lambda file, older: replace(file, b"\xa5" * 30_000),
    "an older copy": replace,
    "a directory": make_directory,
}
KINDS = [
    "active log",
    "sealed log",
    "active index",
    "sealed index",
    "MANIFEST",
    "CONTROL",
    "FORMAT",
    "attach.lock",
    "writer.lock",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_taken_away(tmp_path: Path, kind: str, change: str) -> None:
    """Neither the process that has the store open nor one that comes later crashes, hangs or reads wrong."""
    path = tmp_path / "store"
    ready, changed = Flag(tmp_path / "ready"), Flag(tmp_path / "changed")
    with open_(path, max_bytes=2**22) as db:
        fill(db)
    file = files(path)[kind]
    older = file.read_bytes() if file.exists() else b""
    with open_(path, max_bytes=2**22) as db:
        for key in KEYS:
            db.put(key, b"2 " + bytes(100))
    child = Child(lambda: stay(path, ready, changed))
    ready.wait()
    CHANGES[change](file, older)
    late = Child(lambda: come(path))
    statuses = [late.wait()]
    changed.set()
    statuses.append(child.wait())
    statuses.append(Child(lambda: come(path)).wait())
    assert statuses == [0, 0, 0]


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_the_whole_directory_taken_away(tmp_path: Path, how: str) -> None:
    path = tmp_path / "store"
    ready, changed = Flag(tmp_path / "ready"), Flag(tmp_path / "changed")
    with open_(path) as db:
        fill(db)
    child = Child(lambda: stay(path, ready, changed))
    ready.wait()
    if how == "deleted":
        shutil.rmtree(path)
    else:
        path.rename(tmp_path / "elsewhere")
    changed.set()
    assert child.wait() == 0
    if how == "renamed":
        with open_(tmp_path / "elsewhere") as db:
            assert set(map(version, dict(db.scan()).values())) <= {2, 3}
