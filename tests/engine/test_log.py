"""The header of a log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stratakv.log import HEADER_BYTES, LogHeader

GOLDEN = bytes.fromhex(
    "5354524154414c47 01000000 44332211 0900000000000000 0300000000000000"
    "0700000000000000 0200000000000000 0000000000000000"
)
u64 = st.integers(0, 2**64 - 1)


def test_layout_is_frozen() -> None:
    packed = LogHeader(number=9, oldest=3, newest=7, floor=2, first_link=0x11223344).pack()
    assert packed[:56] == GOLDEN
    assert packed[56:].hex() == "99daef6dd299a168"
    assert len(packed) == HEADER_BYTES == 64


@given(st.lists(u64, min_size=3, max_size=3).map(sorted), u64, st.integers(0, 2**32 - 1))
def test_round_trip(numbers: list[int], floor: int, link: int) -> None:
    oldest, newest, number = numbers
    header = LogHeader(number, oldest, newest, floor, link)
    assert LogHeader.unpack(header.pack() + b"records") == header


def test_every_flipped_bit_is_noticed() -> None:
    packed = LogHeader(9, 3, 7, 2, 1).pack()
    for bit in range(8 * len(packed)):
        broken = bytearray(packed)
        broken[bit // 8] ^= 1 << bit % 8
        assert LogHeader.unpack(bytes(broken)) is None, f"bit {bit}"


def test_a_range_that_cannot_be_is_refused() -> None:
    assert LogHeader.unpack(LogHeader(5, 4, 3, 0, 0).pack()) is None
    assert LogHeader.unpack(LogHeader(5, 4, 6, 0, 0).pack()) is None


def test_a_short_header_is_none() -> None:
    assert LogHeader.unpack(LogHeader(1, 1, 1, 0, 0).pack()[:-1]) is None
