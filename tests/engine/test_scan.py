"""Scans: key order, bounds, and a picture that does not move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stratakv
from stratakv import DB, InvalidKeyError
from tests.engine.machine import flip

short = st.binary(min_size=1, max_size=3)
bounds = st.none() | st.binary(max_size=3)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store whose keys lie in a compacted, several young and the active segment, and what is live in it."""
    db = stratakv.open(tmp_path_factory.mktemp("scan") / "store", durability="os", segment_bytes=4096)
    model: dict[bytes, bytes] = {}
    for number in range(900):
        key = bytes((number * 7919 % 256, number % 5, 255 - number % 256))[: 1 + number % 3]
        if number % 6 == 5:
            db.delete(key)
            model.pop(key, None)
        else:
            db.put(key, b"%d" % number)
            model[key] = b"%d" % number
        if number == 400:
            db.compact()
    kinds = [segment.kind for segment in db.stats().segments]
    assert kinds[0] == "active"
    assert kinds.count("young") >= 2
    assert kinds[-1] == "main"
    yield db, model
    db.close()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prefix=st.binary(max_size=2), start=bounds, stop=bounds)
def test_bounds(spread: Any, prefix: bytes, start: bytes | None, stop: bytes | None) -> None:
    db, model = spread
    expected = [
        (key, value)
        for key, value in sorted(model.items())
        if key.startswith(prefix) and key >= (start or b"") and (stop is None or key < stop)
    ]
    assert list(db.scan(prefix, start, stop)) == expected


def filled(db: DB, count: int = 400) -> dict[bytes, bytes]:
    model = {b"%04d" % number: b"v%d" % number for number in range(count)}
    for key, value in model.items():
        db.put(key, value)
    return model


def test_a_scan_shows_the_moment_it_began(db: DB, path: Path) -> None:
    """Others write, seal, merge, and clear meanwhile: the scan neither sees nor feels any of it."""
    model = filled(db)
    scan = db.scan()
    seen = [next(scan) for _ in range(50)]
    for number in range(400):
        db.put(b"%04d" % number, b"new")
    db.put(b"0399x", b"new")
    db.delete(b"0100")
    seen += [next(scan) for _ in range(50)]
    db.compact()
    seen += [next(scan) for _ in range(50)]
    db.clear()
    assert len(list(path.glob("*.log"))) == 1
    filled(db, 300)
    assert dict([*seen, *scan]) == model


def test_a_scan_begins_when_it_is_asked_for(db: DB) -> None:
    db.put(b"k", b"v")
    scan = db.scan()
    db.put(b"k", b"w")
    db.put(b"l", b"w")
    assert list(scan) == [(b"k", b"v")]


def test_a_scan_that_is_given_up_leaves_nothing_open(db: DB) -> None:
    filled(db)
    scan = db.scan()
    next(scan)
    del scan
    db.clear()
    db.put(b"k", b"v")
    assert list(db.scan()) == [(b"k", b"v")]


def test_writing_what_the_scan_yields(db: DB) -> None:
    filled(db)
    for key, value in db.scan():
        db.put(b"copy of " + key, value)
    assert len(list(db.keys())) == 800


@pytest.mark.parametrize("bound", [{"prefix": "a"}, {"start": 1}, {"stop": "z"}])
def test_bounds_that_are_not_bytes(db: DB, bound: dict[str, Any]) -> None:
    db.put(b"k", b"v")
    with pytest.raises(InvalidKeyError, match="bytes"):
        list(db.scan(**bound))


def test_prefixes_that_are_not_bytes(db: DB) -> None:
    with pytest.raises(InvalidKeyError, match="bytes"):
        db.keys("a")  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError, match="bytes"):
        db.delete_prefix("a")  # type: ignore[arg-type]


def test_a_key_that_is_written_again_meanwhile_comes_once(db: DB) -> None:
    for key in (b"first", b"again", b"again"):
        db.put(key, b"v")
    keys = db.keys()
    shown = [next(keys)]
    db.put(b"again", b"newest")
    assert [*shown, *keys] == [b"first", b"again"]


@pytest.mark.parametrize("segments", [1, 2])
def test_what_is_damaged_meanwhile_is_left_out(db: DB, segments: int) -> None:
    """Also what was read ahead: of each of two segments, one record is."""
    values = {b"%d" % number: bytes([65 + number]) * 50 for number in range(6)}
    db.put_many(values)
    if segments == 2:
        db.compact()
        db.put(b"3", values[b"3"])
    scan = db.scan()
    shown = [next(scan)]
    for key in (b"3", b"4"):
        logs = [segment.path for segment in db._store.structure.current().segments()]
        log = next(log for log in logs if values[key] in log.read_bytes())
        flip(log, log.read_bytes().index(values[key]) + 7)
    shown += scan
    assert shown == [(key, value) for key, value in values.items() if key not in (b"3", b"4")]
    assert db.stats().damaged_reads == 2


def test_keys_go_on_behind_a_damaged_record(db: DB, path: Path) -> None:
    for key in (b"1", b"2", b"3"):
        db.put(key, b"v" * 50)
    flip(path / "000001.log", 72 + (28 + 1 + 50) + 40)
    assert list(db.keys()) == [b"1", b"3"]
