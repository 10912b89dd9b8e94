"""docs/format.md against a real store: read here by the page alone, without the engine's own codecs."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mmh3
import pytest
import xxhash

import stratakv

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
PUT, TOMBSTONE, END, RANGE, COMMIT = 1, 2, 3, 4, 128
RANKS = 65_536
FAR = 10**10  # seconds: an expiry that can be told from "never"


class Record(NamedTuple):
    offset: int
    checksum: int
    link: int
    kind: int
    flags: int
    expiry: int
    key: bytes
    value: bytes


def read_log(data: bytes) -> tuple[dict[str, int], list[Record]]:
    """Return the header of a log and its records, each checked as the page says."""
    names = (
        "format",
        "first_link",
        "number",
        "oldest",
        "newest",
        "floor",
        "began",
        "flags",
        "taken",
        "ranges",
    )
    magic, *fields, checksum = struct.unpack_from("<8sIIQQQQQHHIQ", data)
    assert magic == b"STRATALG"
    assert checksum == xxhash.xxh3_64_intdigest(data[:64])
    header = dict(zip(names, fields, strict=True))
    return header, list(_records(data, header["first_link"]))


def _records(data: bytes, link: int) -> Iterator[Record]:
    offset = 72
    while offset < len(data) and any(data[offset : offset + 28]):
        checksum, found_link, value_bytes, key_bytes, kind, flags, expiry = struct.unpack_from(
            "<QIIHBBQ", data, offset
        )
        key_at = offset + 28
        end = key_at + key_bytes + value_bytes
        assert end <= len(data)
        assert checksum == xxhash.xxh3_64_intdigest(data[offset + 12 : end])
        assert found_link == link
        key, value = data[key_at : key_at + key_bytes], data[key_at + key_bytes : end]
        yield Record(offset, checksum, found_link, kind, flags, expiry, key, value)
        link, offset = checksum & 0xFFFF_FFFF, end


def read_manifest(directory: Path) -> dict[str, Any]:
    title, body, rest = (directory / "MANIFEST").read_bytes().split(b"\n")
    assert rest == b""
    assert title == b"stratakv-manifest 1 " + xxhash.xxh3_64_hexdigest(body).encode()
    fields: dict[str, Any] = json.loads(body)
    return fields


class Index(NamedTuple):
    header: tuple[int, ...]
    slots: tuple[int, ...]
    bloom: tuple[int, ...]
    hot: bytes
    order: tuple[int, ...]
    checksum: int

    def find(self, key: bytes) -> list[int]:
        """Return the offsets that a lookup of `key` is led to."""
        first, second = mmh3.mmh3_x64_128_utupledigest(key)
        bits = page_pattern()(second & 4095)
        if self.bloom[first % len(self.bloom)] & bits != bits:
            return []
        place, found = first % len(self.slots), []
        while slot := self.slots[place]:
            if slot >> 40 == first >> 40:
                found.append(slot & (1 << 40) - 1)
            place = (place + 1) % len(self.slots)
        return found


def page_pattern() -> Any:
    """Return the function that the page gives for the patterns of the Bloom filter."""
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block
    names: dict[str, Any] = {}
    exec(block[1], names)
    return names["pattern"]


def read_index(data: bytes) -> Index:
    header = struct.unpack_from("<11Q", data)
    assert header[0] == int.from_bytes(b"STRATAIX", "little")
    slots_end = 128 + 8 * header[3]
    bloom_end = slots_end + 8 * header[4]
    hot_end = bloom_end + header[3]
    order = -(-hot_end // 8) * 8
    assert len(data) == order + 8 * header[5]
    assert not any(data[88:128])
    assert not any(data[hot_end:order])

    def words(start: int, end: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{(end - start) // 8}Q", data, start)

    return Index(
        header,
        words(128, slots_end),
        words(slots_end, bloom_end),
        data[bloom_end:hot_end],
        words(order, len(data)),
        xxhash.xxh3_64_intdigest(data[:80] + data[128:bloom_end] + data[order:]),
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with every kind of record, in two young segments and the active one; closed."""
    with stratakv.open(tmp_path / "store", segment_bytes=4096, maintenance="manual") as db:
        db.put(b"plain", b"value")
        db.put(b"with-ttl", b"goes", ttl=FAR)
        db.put_many({b"batch-1": b"1", b"batch-2": b"2", b"batch-3": b"3"})
        db.put(b"plain", b"newer")
        db.delete(b"batch-2")
        for number in range(60):
            db.put(b"filler-%02d" % number, bytes(100))
        assert db.get(b"filler-59") == bytes(100)
    return tmp_path / "store"


def log_of(directory: Path, number: int) -> tuple[dict[str, int], list[Record]]:
    return read_log((directory / f"{number:06d}.log").read_bytes())


def index_of(directory: Path, number: int) -> Index:
    return read_index((directory / f"{number:06d}.idx").read_bytes())


def control_words(directory: Path) -> tuple[int, ...]:
    data = (directory / "CONTROL").read_bytes()
    assert len(data) == 20_480
    return struct.unpack("<2560Q", data)


def test_the_files_are_those_of_the_page(store: Path) -> None:
    manifest = read_manifest(store)
    numbers = [manifest["active"], *(entry["number"] for entry in manifest["segments"])]
    files = {f"{number:06d}.{kind}" for number in numbers for kind in ("log", "idx")}
    locks = {
        "attach.lock",
        "writer.lock",
        "maintenance.lock",
        "sync.lock",
        "keep.lock",
        "keys.lock",
        "bias.lock",
    }
    found = {path.name for path in store.iterdir()}
    fixed = {"FORMAT", "MANIFEST", "MANIFEST.old", "CONTROL"}
    assert found - locks == files | fixed
    assert all((store / name).stat().st_size == 0 for name in found & locks)
    assert all(f"`{name}`" in PAGE for name in fixed | locks)
    assert (store / "FORMAT").read_bytes() == b"stratakv 1\n"


def test_manifest(store: Path) -> None:
    manifest = read_manifest(store)
    assert set(manifest) == {"generation", "active", "next_number", "floor", "max_bytes", "segments"}
    assert [entry["number"] for entry in manifest["segments"]] == sorted(
        (entry["number"] for entry in manifest["segments"]), reverse=True
    )
    for entry in manifest["segments"]:
        assert (entry["kind"], entry["poisoned"], entry["finished"]) == ("young", False, False)
        assert entry["number"] * RANKS == entry["oldest"] == entry["newest"]
        assert entry["began"] == log_of(store, entry["number"])[0]["began"]
        assert entry["size"] == entry["synced"] == (store / f"{entry['number']:06d}.log").stat().st_size
    assert manifest["next_number"] == manifest["active"] + 1
    assert read_manifest_names() == {*manifest, *manifest["segments"][0]}


def read_manifest_names() -> set[str]:
    """Return the field names in the page's two tables about the manifest."""
    section = PAGE.split("## MANIFEST")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_log_and_records(store: Path) -> None:
    header, records = log_of(store, 1)
    first_link, began = header.pop("first_link"), header.pop("began")
    assert header == {
        "format": 1,
        "number": 1,
        "oldest": RANKS,
        "newest": RANKS,
        "floor": 0,
        "flags": 0,
        "taken": 0,
        "ranges": 0,
    }
    assert 0 <= (store / "FORMAT").stat().st_mtime - began / 1000 < 60
    assert records[0].link == first_link
    assert {record.flags for record in records} == {0}
    begun = [(record.kind, record.key, record.value) for record in records[:7]]
    assert begun == [
        (PUT | COMMIT, b"plain", b"value"),
        (PUT | COMMIT, b"with-ttl", b"goes"),
        (PUT, b"batch-1", b"1"),
        (PUT, b"batch-2", b"2"),
        (PUT | COMMIT, b"batch-3", b"3"),
        (PUT | COMMIT, b"plain", b"newer"),
        (TOMBSTONE | COMMIT, b"batch-2", b""),
    ]
    assert records[0].expiry == 0
    assert 0 <= records[1].expiry / 1000 - FAR - (store / "FORMAT").stat().st_mtime < 60


def test_the_active_log_has_the_length_of_a_segment_and_zeros_behind_the_tip(store: Path) -> None:
    active = read_manifest(store)["active"]
    data = (store / f"{active:06d}.log").read_bytes()
    tip = control_words(store)[6] & (1 << 40) - 1
    _, records = read_log(data)
    assert len(data) == 4096
    assert records[-1].offset + 28 + len(records[-1].key) + len(records[-1].value) == tip
    assert not any(data[tip:])


@pytest.mark.parametrize("number", [1, 2])
def test_index_of_a_sealed_segment(store: Path, number: int) -> None:
    _, records = log_of(store, number)
    index = index_of(store, number)
    latest = {record.key: record.offset for record in records}
    size = (store / f"{number:06d}.log").stat().st_size
    assert index.header[1:3] == (1, number)
    assert index.header[5:11] == (0, 0, len(latest), size, 1, index.checksum)
    for key, offset in latest.items():
        assert index.find(key) == [offset]
    assert sum(map(bool, index.slots)) == len(latest)
    assert index.find(b"absent") == []


def test_sizes_of_an_active_index(store: Path) -> None:
    first, keys = index_of(store, 1), 4096 // 32 + 1
    assert (len(first.slots), len(first.bloom)) == (2 * keys, -(-16 * keys // 64))
    manifest = read_manifest(store)
    last = manifest["segments"][0]
    keys = max(64, 4096 * last["keys"] * 3 // (last["size"] * 2))
    index = index_of(store, manifest["active"])
    assert (len(index.slots), len(index.bloom)) == (2 * keys, -(-16 * keys // 64))


def test_the_index_of_a_young_segment_when_it_is_finished(store: Path) -> None:
    with stratakv.open(store, segment_bytes=4096, maintenance="manual") as db:
        db.maintain()
    for entry in read_manifest(store)["segments"]:
        index = index_of(store, entry["number"])
        _, records = log_of(store, entry["number"])
        latest = {record.key: record.offset for record in records}
        assert entry["finished"]
        assert index.order == tuple(latest[key] for key in sorted(latest))
        assert index.header[5:8] == (len(latest), 1, len(latest))
        assert index.header[10] == index.checksum
        assert len(index.slots) == -(-8 * len(latest) // 5)


def test_hot_bytes_count_reads_where_there_is_a_budget(store: Path) -> None:
    with stratakv.open(store, segment_bytes=4096, maintenance="manual") as db:
        assert db.get(b"filler-59") is not None
    assert not any(index_of(store, read_manifest(store)["active"]).hot)
    with stratakv.open(store, segment_bytes=4096, maintenance="manual", max_bytes=2**20) as db:
        for _ in range(5):
            assert db.get(b"filler-59") is not None
        assert db.get(b"filler-58") is not None
    assert read_manifest(store)["max_bytes"] == 2**20
    assert sorted(index_of(store, read_manifest(store)["active"]).hot)[-3:] == [0, 1, 3]


def test_ghosts(tmp_path: Path) -> None:
    with stratakv.open(tmp_path / "store", durability="os", maintenance="manual", max_bytes=2**18) as db:
        for number in range(400):
            db.put(b"%d" % number, bytes(1000))
            db.maintain()
        gone = [b"%d" % number for number in range(400) if b"%d" % number not in db]
    words = struct.unpack("<520Q", (tmp_path / "store" / "GHOSTS").read_bytes())
    assert words[:3] == (int.from_bytes(b"STRATAGH", "little"), 1, 512)
    assert words[5:8] == (0, 0, 0)
    entries = words[8:]
    halves = {entries.index(word): word & 0xFFFF_FFFF for word in entries if word}
    firsts = [mmh3.mmh3_x64_128_utupledigest(key)[0] for key in gone]
    assert halves
    assert halves.items() <= {(first % 512, first >> 32) for first in firsts}
    assert max(word >> 32 for word in entries) == words[3]


def test_the_sieve(tmp_path: Path) -> None:
    keys = [b"key-%d" % number for number in range(6_000)]
    with stratakv.open(tmp_path / "store", durability="os", maintenance="manual", max_bytes=2**21) as db:
        for number, key in enumerate(keys):
            db.put(key, bytes(100))
            if number % 100 == 0:
                db.maintain()
        present = [key for key in keys if key in db]
    data = (tmp_path / "store" / "SIEVE").read_bytes()
    words = struct.unpack("<72Q", data[:576])
    magic, form, bits, lanes, checksum = words[:5]
    assert (magic, form) == (int.from_bytes(b"STRATASV", "little"), 1)
    assert len(data) == 576 + 4 * 2**bits
    assert checksum == xxhash.xxh3_64_intdigest(data[:32] + data[64:])
    assert words[5:8] == (0, 0, 0)
    assert not any(words[8 + 2 * lanes :])
    table = struct.unpack(f"<{2**bits}I", data[576:])
    passes = Counter[int]()
    sieved = {}
    for lane, (number, of_index) in enumerate(zip(words[8::2], words[9::2], strict=True)):
        if lane >= lanes or not (tmp_path / "store" / f"{number:06d}.log").exists():
            continue  # it has left the store since
        assert (
            struct.unpack_from("<Q", (tmp_path / "store" / f"{number:06d}.idx").read_bytes(), 80)[0]
            == of_index
        )
        _, records = log_of(tmp_path / "store", number)
        sieved[lane] = {record.key for record in records if record.kind == PUT | COMMIT}
    assert len(sieved) >= 8
    for lane, held in sieved.items():
        for key in present:
            first = mmh3.mmh3_x64_128_utupledigest(key)[0]
            passed = table[first >> (64 - bits)] >> lane & 1
            assert passed or key not in held
            passes[lane] += passed and key not in held
        assert passes[lane] < len(present) / 8


def test_a_range_tombstone(store: Path) -> None:
    with stratakv.open(store, segment_bytes=4096, maintenance="manual") as db:
        db.put(b"other", b"v")
        db.delete_prefix(b"filler")
        db.put(b"later", b"v")
    number = read_manifest(store)["active"]
    header, records = log_of(store, number)
    assert (header["ranges"], header["taken"]) == (1, 1)
    assert (records[0].kind, records[0].key, records[0].expiry) == (RANGE | COMMIT, b"filler", 1)
    taken_over, later = records[1:]
    assert (taken_over.kind, taken_over.key, later.key) == (PUT | COMMIT, b"other", b"later")
    assert header["oldest"] < header["newest"] == number * 65_536


def test_compacted_log_and_its_index(store: Path) -> None:
    with stratakv.open(store, segment_bytes=4096, maintenance="manual") as db:
        db.compact()
        live = list(db.scan())
    (entry,) = read_manifest(store)["segments"]
    header, records = log_of(store, entry["number"])
    assert entry["kind"] == "main"
    assert (header["oldest"], header["newest"]) == (entry["oldest"], entry["newest"])
    assert header["oldest"] == RANKS < header["newest"] < header["number"] * RANKS
    assert header["flags"] == 1 + 2
    *kept, last = records
    assert (last.kind, last.key, last.value) == (END | COMMIT, b"", b"")
    assert [(record.key, record.value) for record in kept] == live
    index = index_of(store, entry["number"])
    assert index.order == tuple(record.offset for record in kept[::16])
    assert index.header[5:8] == (len(index.order), 16, len(kept))
    assert index.header[9:11] == (1, index.checksum)
    assert 8 * len(kept) / 5 <= len(index.slots) <= 8 * len(kept) / 5 * 1.25 + 1
    assert len(index.bloom) >= -(-16 * len(kept) // 64)
    assert all(index.find(record.key) == [record.offset] for record in kept)


def test_a_clear_raises_the_floor(store: Path) -> None:
    with stratakv.open(store, segment_bytes=4096, maintenance="manual") as db:
        before = read_manifest(store)["active"]
        db.clear()
    manifest = read_manifest(store)
    assert manifest["segments"] == []
    assert manifest["floor"] == (before + 1) * RANKS
    assert log_of(store, manifest["active"])[0]["floor"] == manifest["floor"]


def test_control(store: Path) -> None:
    words = control_words(store)
    manifest = read_manifest(store)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    _, records = log_of(store, manifest["active"])
    assert words[0] == int.from_bytes(b"STRATACT", "little")
    assert words[1] == 1
    assert words[3] << 64 | words[2] == int(boot, 16)
    assert words[4] == 2
    assert words[5] == manifest["generation"]
    assert words[6] == words[9] == words[11]
    assert words[6] >> 40 == manifest["active"]
    assert words[7] == records[-1].checksum & 0xFFFF_FFFF
    assert words[10] == 0
    assert words[8] == len({record.key for record in records})
    assert words[12] == manifest["next_number"]
    assert words[13] == 0
    assert words[14] == sum(entry["size"] for entry in manifest["segments"])
    assert words[15] >> 40 == manifest["active"]
    assert not any((store / f"{manifest['active']:06d}.log").read_bytes()[words[6] & (1 << 40) - 1 :])
    process, hits, misses, written, damaged, *unused = words[512:520]
    assert (process, hits, misses, written, damaged, unused) == (0, 1, 0, 67, 0, [0, 0, 0])


def test_the_state_is_open_while_the_store_is(store: Path) -> None:
    with stratakv.open(store):
        assert control_words(store)[4] == 1
    assert control_words(store)[4] == 2


def test_a_newer_format_is_refused_and_left_alone(store: Path) -> None:
    (store / "FORMAT").write_bytes(b"stratakv 2\n")
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(stratakv.FormatError):
        stratakv.open(store)
    with pytest.raises(stratakv.FormatError):
        stratakv.recover(store)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
