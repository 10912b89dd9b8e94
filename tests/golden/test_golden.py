"""Every released format, as it was written then: opened now, and compared with what was in it."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import control, ghosts, index, manifest, record
from stratakv.directory import Directory
from stratakv.index import Shape
from stratakv.log import HEADER_BYTES, OFFSET_BITS, OFFSET_MASK, rank_of
from stratakv.manifest import Manifest
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log
from tests.golden.make import BOOT, EVICTED, HERE, OPTIONS, SteadyFiles, describe, machine

FOLDERS = sorted(path for path in HERE.glob("v*/*") if path.is_dir())
NAMES = [f"{path.parent.name}-{path.name}" for path in FOLDERS]
# What has been released never changes. A new format gets a new folder, and a new line here.
SUMS = {"v1": "a712a3d0089174a8d22def023b78f1a9489b96a7aa2e3a48729d5f7f06337827"}
_SPECIAL = {"ranges": [record.RANGE], "merged": [record.END]}


@pytest.fixture(params=FOLDERS, ids=NAMES)
def golden(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture
def copy(golden: Path, tmp_path: Path) -> Path:
    """The folder as a store would be found: git keeps neither permissions nor an empty file's blocks."""
    path = tmp_path / "store"
    shutil.copytree(golden, path)
    path.chmod(0o700)
    for file in path.iterdir():
        file.chmod(0o600)
    return path


@pytest.fixture
def expected(golden: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(golden.with_suffix(".json").read_text())
    return described


@pytest.mark.parametrize("version", SUMS)
def test_what_was_released_is_as_it_was(version: str) -> None:
    digest = hashlib.sha256()
    for path in sorted((HERE / version).rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    assert digest.hexdigest() == SUMS[version]


def test_each_format_has_its_folder() -> None:
    assert sorted(SUMS) == sorted({path.parent.name for path in FOLDERS})
    assert f"v{stratakv.directory.FORMAT}" in SUMS


@pytest.mark.parametrize("read_only", [False, True])
def test_in_the_boot_that_wrote_it(copy: Path, expected: dict[str, Any], read_only: bool) -> None:
    with machine(), stratakv.open(copy, **OPTIONS, read_only=read_only) as db:
        assert describe(db) == expected
        _check(db, expected)


def test_after_a_reboot(copy: Path, expected: dict[str, Any]) -> None:
    with machine(boot=BOOT + 1), stratakv.open(copy, **OPTIONS) as db:
        assert describe(db)["entries"] == expected["entries"]
        _check(db, expected)


@pytest.mark.parametrize("mode", ["strict", "point-in-time", "salvage"])
def test_recovered_from_the_logs_alone(copy: Path, expected: dict[str, Any], mode: str) -> None:
    for file in copy.iterdir():
        if file.suffix == ".idx" or file.name in ("CONTROL", "GHOSTS", "FORMAT", "MANIFEST", "MANIFEST.old"):
            file.unlink()
    with machine():
        report = stratakv.recover(copy, mode)
        assert report.manifest_rebuilt
        with stratakv.open(copy, **OPTIONS) as db:
            assert describe(db)["entries"] == expected["entries"]
            _check(db, expected)


def test_it_goes_on(copy: Path, expected: dict[str, Any]) -> None:
    entries = {key: value for key, value, _ in expected["entries"]}
    with machine():
        with stratakv.open(copy, **OPTIONS) as db:
            for number in range(100):
                db.put(b"more-%02d" % number, b"v" * 100)
                entries[f"more-{number:02d}"] = "v" * 100
            db.delete(b"plain")
            del entries["plain"]
            db.compact()
        with stratakv.open(copy, **OPTIONS) as db:
            assert [entry[:2] for entry in describe(db)["entries"]] == [
                list(e) for e in sorted(entries.items())
            ]
            assert db.verify().ok


def _check(db: stratakv.DB, expected: dict[str, Any]) -> None:
    """The other ways to look at it agree with the scan."""
    entries = {key.encode("latin-1"): value.encode("latin-1") for key, value, _ in expected["entries"]}
    assert db.get_many(entries) == entries
    assert {key: db.get(key) for key in entries} == entries
    assert sorted(db.keys()) == sorted(entries)
    assert not {b"deleted", b"expired", b"batch-1", *EVICTED} & set(db.keys())
    report = db.verify()
    assert report.ok, report
    assert report.records >= len(entries)


class TestBytes:
    """What is read is written again, byte for byte: fails when anything changes that is on disk."""

    def manifest(self, folder: Path) -> Manifest:
        return manifest.decode((folder / "MANIFEST").read_bytes())

    def segments(self, folder: Path) -> Iterator[Segment]:
        directory = Directory(folder, SteadyFiles())
        found = self.manifest(folder)
        for entry in found.segments:
            yield self.segment(directory, entry.number, entry)
        yield self.segment(directory, found.active, None)

    def segment(self, directory: Directory, number: int, entry: manifest.Entry | None) -> Segment:
        segment = open_log(directory, number, entry, write=False)
        assert map_index(directory, segment, write=False)
        segment.read_ranges()
        return segment

    def test_format(self, golden: Path, tmp_path: Path) -> None:
        if int(golden.parent.name[1:]) == stratakv.directory.FORMAT:
            Directory(tmp_path, SteadyFiles()).write_format()
            assert (tmp_path / "FORMAT").read_bytes() == (golden / "FORMAT").read_bytes()

    def test_manifest(self, golden: Path) -> None:
        assert manifest.encode(self.manifest(golden)) == (golden / "MANIFEST").read_bytes()

    def test_logs(self, golden: Path) -> None:
        kinds = set()
        for segment in self.segments(golden):
            header, link = segment.header, segment.header.first_link
            written = header.pack()
            assert len(written) == HEADER_BYTES
            for found in record.walk(segment.log, segment.view, HEADER_BYTES, link, segment.end):
                kind = found.kind | found.commit * record.COMMIT
                body = record.encode(kind, found.key, segment.value(found), found.expiry)
                written += record.frame(body, record.checksum_of(body), link)
                link = found.checksum & record.LINK_MASK
                kinds.add(found.kind)
            assert written == segment.log[: len(written)]
            assert not segment.log[len(written) :].strip(b"\0")
            assert header.is_original == (header.newest == rank_of(header.number))
        assert kinds >= {record.PUT, record.TOMBSTONE, *_SPECIAL.get(golden.name, ())}

    def test_indexes(self, golden: Path) -> None:
        """The same keys entered in the same order give the same table, filter and checksum."""
        for segment in self.segments(golden):
            old = segment.arrays
            shape: Shape = old.shape
            new = index.arrays(bytearray(shape.size), shape)
            index.write_header(new, segment.number)
            latest = self.latest(segment)
            assert index.fill(new, latest.items()) == index.occupied(old)
            assert new.bloom == old.bloom
            assert sorted(new.slots) == sorted(old.slots)
            new.slots[:] = old.slots  # which key was entered first is not told by the log alone
            new.order[:] = old.order
            index.seal(new, old.header[index.W_KEYS], old.header[index.W_COVERED])
            assert old.header[index.W_SEALED] == 0 or new.header == old.header
            for key, offset in latest.items():
                assert old.slots[index.place_of(old, key, offset)] & OFFSET_MASK == offset

    def latest(self, segment: Segment) -> dict[bytes, int]:
        link = segment.header.first_link
        chain = record.walk(segment.log, segment.view, HEADER_BYTES, link, segment.end)
        return {found.key: found.offset for found in chain if found.kind <= record.TOMBSTONE}

    def test_control(self, golden: Path) -> None:
        data = (golden / "CONTROL").read_bytes()
        words = struct.unpack(f"<{control.SIZE // 8}Q", data)
        found = self.manifest(golden)
        assert words[control.W_MAGIC] == control.MAGIC
        assert words[control.W_FORMAT] == control.FORMAT
        assert words[control.W_BOOT_HIGH] << 64 | words[control.W_BOOT_LOW] == BOOT
        assert words[control.W_GENERATION] == found.generation
        assert words[control.W_NEXT] == found.next_number
        assert words[control.W_TIP] >> OFFSET_BITS == found.active
        assert words[control.W_STATE] == (1 if golden.name == "killed" else 2)

    def test_ghosts(self, golden: Path) -> None:
        if golden.name != "budget":
            assert not (golden / "GHOSTS").exists()
            return
        data = bytearray((golden / "GHOSTS").read_bytes())
        table = ghosts.Ghosts(data)
        assert table.is_sound()
        assert ghosts.size_of(table.count) == len(data)
        gone = [key for key in EVICTED if table.recall(index.hash_key(key)[0])]
        assert len(gone) > 20
        assert EVICTED[-1] not in gone
