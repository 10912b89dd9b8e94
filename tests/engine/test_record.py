"""Records: the layout on disk, and what a damaged one looks like."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratakv import record
from stratakv.record import COMMIT, END, PUT, TOMBSTONE, Kind

GOLDEN = (
    bytes.fromhex(
        "48f220f9c773f7a9"  # checksum
        "78563412"  # link
        "05000000"  # length of the value
        "0300"  # length of the key
        "81"  # a put that ends its commit
        "00"  # flags
        "0807060504030201"  # expiry
    )
    + b"keyvalue"
)

keys = st.binary(min_size=1, max_size=80)
values = st.binary(max_size=200)
expiries = st.integers(0, 2**64 - 1)
kinds = st.sampled_from([PUT, TOMBSTONE, PUT | COMMIT, TOMBSTONE | COMMIT])


def mapped(data: bytes) -> tuple[mmap.mmap, memoryview]:
    log = mmap.mmap(-1, max(1, len(data)))
    log[: len(data)] = data
    return log, memoryview(log)


def framed(kind: int, key: bytes, value: bytes, expiry: int = 0, link: int = 0) -> bytes:
    body = record.encode(kind, key, value, expiry)
    return record.frame(body, record.checksum_of(body), link)


def test_layout_is_frozen() -> None:
    assert framed(PUT | COMMIT, b"key", b"value", 0x0102030405060708, 0x12345678) == GOLDEN


def test_golden_record_is_read() -> None:
    found = record.decode(*mapped(GOLDEN), 0, len(GOLDEN))
    assert found is not None
    assert (found.key, found.value_offset, found.end) == (b"key", 31, 36)
    assert (found.kind, found.commit, found.expiry, found.link) == (PUT, True, 0x0102030405060708, 0x12345678)


def test_kinds_are_frozen() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {"PUT": 1, "TOMBSTONE": 2, "END": 3, "RANGE": 4}
    assert (COMMIT, END) == (0x80, 3)


@given(kinds, keys, values, expiries, st.integers(0, 2**32 - 1))
def test_round_trip(kind: int, key: bytes, value: bytes, expiry: int, link: int) -> None:
    data = framed(kind, key, value, expiry, link)
    log, view = mapped(b"\xff" * 7 + data)
    found = record.decode(log, view, 7, 7 + len(data))
    assert found is not None
    assert (found.kind, found.commit) == (kind & ~COMMIT, bool(kind & COMMIT))
    assert (found.key, log[found.value_offset : found.end]) == (key, value)
    assert (found.expiry, found.link, found.offset, found.end) == (expiry, link, 7, 7 + len(data))


def test_every_flipped_bit_is_noticed() -> None:
    """The checksum covers all but the link, and a walk compares that."""
    data = framed(PUT | COMMIT, b"some key", b"some value", 5, link=77)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        log, view = mapped(bytes(broken))
        assert list(record.walk(log, view, 0, 77, len(data))) == [], f"bit {bit}"
        if not 8 <= bit // 8 < 12:
            assert record.decode(log, view, 0, len(data)) is None, f"bit {bit}"


@given(st.binary(max_size=120))
def test_lengths_from_disk_are_bounded(data: bytes) -> None:
    log, view = mapped(data)
    found = record.decode(log, view, 0, len(data))
    assert found is None or found.end <= len(data)


@pytest.mark.parametrize("cut", range(36))
def test_a_record_cut_short_is_none(cut: int) -> None:
    assert record.decode(*mapped(GOLDEN), 0, cut) is None


def chain(*bodies: bytes, link: int = 9) -> bytes:
    data = b""
    for body in bodies:
        checksum = record.checksum_of(body)
        data += record.frame(body, checksum, link)
        link = checksum & record.LINK_MASK
    return data


def test_walk_follows_the_links_and_stops_at_a_stale_tail() -> None:
    first, second = (record.encode(PUT | COMMIT, key, b"v", 0) for key in (b"a", b"b"))
    data = chain(first, second) + chain(first, link=12345)
    found = list(record.walk(*mapped(data), 0, 9, len(data)))
    assert [record.key for record in found] == [b"a", b"b"]


@settings(max_examples=60)
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=6), st.data())
def test_search_finds_every_record_but_the_broken_one(
    items: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    bodies = [record.encode(PUT | COMMIT, key, value, 0) for key, value in items]
    log = bytearray(chain(*bodies))
    starts = [sum(len(body) + 12 for body in bodies[:place]) for place in range(len(bodies))]
    broken = data.draw(st.integers(0, len(items) - 1))
    log[starts[broken] + data.draw(st.integers(12, len(bodies[broken]) + 11))] ^= 1 << data.draw(
        st.integers(0, 7)
    )
    found = [record.offset for record in record.search(*mapped(bytes(log)), 0, len(log))]
    assert found == [start for place, start in enumerate(starts) if place != broken]
