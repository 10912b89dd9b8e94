"""The Bloom filter's arithmetic."""

from __future__ import annotations

import struct

from xxhash import xxh3_64_hexdigest

from stratakv import bloom


def test_patterns_are_frozen() -> None:
    """Another table would make every filter on disk deny keys that it holds."""
    packed = struct.pack(f"<{len(bloom.PATTERNS)}Q", *bloom.PATTERNS)
    assert xxh3_64_hexdigest(packed) == "5c3d275400f5f9b8"


def test_every_pattern_has_five_bits() -> None:
    assert {pattern.bit_count() for pattern in bloom.PATTERNS} == {5}
    assert len(bloom.PATTERNS) == 4096


def test_size_is_at_least_sixteen_bits_a_key() -> None:
    assert [bloom.words_for(keys) for keys in (0, 1, 4, 5, 65_536)] == [1, 1, 1, 2, 16_384]
