"""A directory made by somebody who wants us to fail: no endless loop, no full memory, no odd error."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import stratakv
from fuzz import mending
from stratakv import DB, CorruptionError
from stratakv.control import W_CHAIN, W_TIP
from tests.engine.machine import Machine, in_time

Open = Callable[..., DB]


@pytest.fixture
def filled(db: DB) -> dict[bytes, bytes]:
    """What the store holds: one sealed segment and a part of the next."""
    model = {b"%d" % number: b"v" * 30 for number in range(100)}
    for key, value in model.items():
        db.put(key, value)
    assert len(db.stats().segments) == 2
    return model


def words(path: Path) -> list[int]:
    return list(struct.unpack("<2560Q", (path / "CONTROL").read_bytes()))


class TestControl:
    """CONTROL has no checksum; in the boot that wrote it, it is believed as far as it is possible."""

    @pytest.mark.parametrize("how", ["zero", "one less", "one more", "huge"])
    @pytest.mark.parametrize("word", range(16))
    def test_each_word(
        self,
        db: DB,
        filled: dict[bytes, bytes],
        machine: Machine,
        open_: Open,
        path: Path,
        word: int,
        how: str,
    ) -> None:
        machine.bury(db)
        page = words(path)
        value = {"zero": 0, "one less": page[word] - 1, "one more": page[word] + 1, "huge": 2**64 - 1}[how]
        page[word] = value % 2**64
        (path / "CONTROL").write_bytes(struct.pack("<2560Q", *page))
        db = open_()
        if word == W_TIP and how in ("one less", "one more"):  # inside a record, which nothing tells
            with pytest.raises(CorruptionError):
                dict(db.scan())
            return
        if word == W_CHAIN and how != "huge":  # nothing tells, either; what is written then is damage
            db.put(b"after", b"v")
            with pytest.raises(CorruptionError):
                dict(db.scan())
            return
        assert dict(db.scan()) == filled
        after = {b"after-%d" % number: b"w" * 30 for number in range(300)}
        for key, value in after.items():
            db.put(key, value)
        assert dict(db.scan()) == filled | after
        db.compact()
        assert db.verify().ok

    def test_counts_that_fit_no_more(self, db: DB, machine: Machine, open_: Open, path: Path) -> None:
        machine.bury(db)
        page = words(path)
        page[512:] = [2**64 - 1] * len(page[512:])
        (path / "CONTROL").write_bytes(struct.pack("<2560Q", *page))
        db = open_()
        assert db.get(b"absent") is None
        db.put(b"k", b"v")
        assert db.get(b"k") == b"v"
        db.close()
        assert open_().stats().misses < 2**63


class TestManifest:
    """Its checksum is no secret."""

    def rewrite(self, path: Path, **changes: object) -> None:
        """Change the newest segment in the manifest, and make the checksum fit."""
        values = json.loads((path / "MANIFEST").read_bytes().split(b"\n")[1])
        values["segments"][0].update(changes)
        (path / "MANIFEST").write_bytes(mending.manifest(json.dumps(values).encode()))

    def test_too_few_keys(self, db: DB, filled: dict[bytes, bytes], open_: Open, path: Path) -> None:
        """A merge makes its table for as many as the manifest says."""
        db.close()
        self.rewrite(path, keys=0)
        db = open_()
        with in_time(), pytest.raises(CorruptionError, match="more keys than the manifest says"):
            db.compact()
        assert dict(db.scan()) == filled
        db.close()
        stratakv.recover(path)
        db = open_()
        db.compact()
        assert dict(db.scan()) == filled
