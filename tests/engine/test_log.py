"""The header of a log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stratakv.log import HEADER_BYTES, RANKS_PER_NUMBER, LogHeader, rank_of

GOLDEN = bytes.fromhex(
    "5354524154414c47 01000000 44332211 0900000000000000 0300000000000000"
    "0700000000000000 0200000000000000 88776655443322 00 02000000 05000000"
)
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
u16 = st.integers(0, 2**16 - 1)


def test_layout_is_frozen() -> None:
    packed = LogHeader(
        number=9,
        oldest=3,
        newest=7,
        floor=2,
        first_link=0x11223344,
        began=0x22334455667788,
        ordered=False,
        main=True,
        ranges=5,
    ).pack()
    assert packed[:64] == GOLDEN
    assert packed[64:].hex() == "47cbdf1169387303"
    assert len(packed) == HEADER_BYTES == 72
    assert RANKS_PER_NUMBER == 65536


def test_where_it_says_what_was_taken_over() -> None:
    packed = LogHeader(9, 3, 7, 2, 1, 0, main=True, taken=0x0605).pack()
    assert packed[56:60].hex() == "02000506"


@given(st.integers(0, 2**40), st.data(), u64, u32, u64, st.booleans(), st.booleans(), u16, u32)
def test_round_trip(
    number: int,
    data: st.DataObject,
    floor: int,
    link: int,
    began: int,
    ordered: bool,
    main: bool,
    taken: int,
    ranges: int,
) -> None:
    newest = data.draw(st.integers(0, rank_of(number)))
    oldest = data.draw(st.integers(0, newest))
    header = LogHeader(number, oldest, newest, floor, link, began, ordered, main, taken, ranges)
    assert LogHeader.unpack(header.pack() + b"records") == header


def test_every_flipped_bit_is_noticed() -> None:
    packed = LogHeader(9, 3, 7, 2, 1, 0).pack()
    for bit in range(8 * len(packed)):
        broken = bytearray(packed)
        broken[bit // 8] ^= 1 << bit % 8
        assert LogHeader.unpack(bytes(broken)) is None, f"bit {bit}"


def test_a_range_that_cannot_be_is_refused() -> None:
    assert LogHeader.unpack(LogHeader(5, 4, 3, 0, 0, 0).pack()) is None
    assert LogHeader.unpack(LogHeader(5, 4, rank_of(5) + 1, 0, 0, 0).pack()) is None


def test_a_short_header_is_none() -> None:
    assert LogHeader.unpack(LogHeader(1, 1, 1, 0, 0, 0).pack()[:-1]) is None


def test_what_writers_wrote_is_told_by_its_rank() -> None:
    assert LogHeader(5, rank_of(5), rank_of(5), 0, 0, 0).is_original
    assert not LogHeader(5, rank_of(3), rank_of(4), 0, 0, 0).is_original
