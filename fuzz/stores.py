"""A small store with everything in it, and all that anybody does with a store.

The store is made once; each input begins with its files as they were.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from contextlib import suppress
from typing import Any

import stratakv
from fuzz import places
from stratakv import DB, StrataKVError
from stratakv import open_stores as stores

logging.disable(logging.CRITICAL)
setattr(stores, "Files", places.QuickFiles)  # noqa: B010 - `recover` the function hides the module
setattr(importlib.import_module("stratakv.recover"), "Files", places.QuickFiles)  # noqa: B010

PATH = places.temporary()
_OPTIONS: dict[str, Any] = {"durability": "os", "maintenance": "manual", "segment_bytes": 4096}
KEYS = [b"key-%02d" % number for number in range(40)]


def _open() -> DB:
    return stratakv.open(PATH, **_OPTIONS)


def _made() -> dict[str, bytes]:
    """Return the files of a store with a merged, a finished, a young and an active segment, not closed."""
    with stratakv.open(PATH, **_OPTIONS, max_bytes=2**18) as db:
        for number in range(400):  # until some are evicted
            db.put(b"evicted-%d" % number, bytes(1000))
            db.maintain()
        db.clear()
    db = stratakv.open(PATH, **_OPTIONS, max_bytes=0)
    for key in KEYS:
        db.put(key, b"old" * 10)
    db.delete(KEYS[3])
    db.compact()
    _fill(db, b"finished")
    db.maintain()
    _fill(db, b"young")
    db.delete_prefix(b"key-2")
    db.put_many(dict.fromkeys(KEYS[30:34], b"batch"), ttl=10**9)
    db.put(KEYS[35], b"active")
    files = {path.name: path.read_bytes() for path in PATH.iterdir()}
    db.close()
    return files


def _fill(db: DB, word: bytes) -> None:
    """Write until a segment is sealed."""
    before = len(db.stats().segments)
    for key in KEYS:
        if len(db.stats().segments) > before:
            return
        db.put(key, word * 30)


FILES = _made()


def reset(changed: dict[str, bytes]) -> None:
    """Lay the store out anew, with some files changed."""
    for path in PATH.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in {**FILES, **changed}.items():
        (PATH / name).write_bytes(data)


def use() -> None:
    """Do everything there is to do with the store; only the errors of the package may come of it."""
    with suppress(StrataKVError), _open() as db:
        for call in (
            lambda: [db.get(key) for key in KEYS],
            lambda: db.get_many(KEYS),
            lambda: list(db.scan()),
            lambda: list(db.scan(prefix=b"key-3", stop=b"key-35")),
            lambda: list(db.keys()),
            db.verify,
            db.stats,
            lambda: db.put(KEYS[0], b"new"),
            lambda: [db.delete(key) for key in KEYS[:3]],
            lambda: db.put_many(dict.fromkeys(KEYS[:20], b"n" * 500)),
            db.maintain,
            db.compact,
            lambda: db.delete_prefix(b"key-1"),
        ):
            with suppress(StrataKVError):
                call()
    assert not stores._stores, "a store that was not closed"


def recover(mode: str, *, honest: bool) -> None:
    """Recover the store, and use it; where the checksums are `honest`, what was recovered is sound."""
    with suppress(StrataKVError):
        stratakv.recover(PATH, mode)
        if honest:
            _check()
    use()


def _check() -> None:
    """The store opens, all of it can be read and written, and it verifies."""
    try:
        with _open() as db:
            found = dict(db.scan())
            assert all(db.get(key) == value for key, value in found.items())
            report = db.verify()
            assert report.ok, report
            db.put(b"after", b"v")
            db.compact()
            assert dict(db.scan()) == {**found, b"after": b"v"}
    except StrataKVError as error:
        raise AssertionError("what was recovered is not sound") from error
