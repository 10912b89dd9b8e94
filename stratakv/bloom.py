"""The Bloom filter: all bits of a key lie in one 64-bit word, so that asking costs one load and one mask.

The first half of a key's hash, modulo the number of words, chooses the word; the low 12 bits of the
second half choose one of 4,096 patterns of five bits. At 16 bits a key about 0.5 % of absent keys pass.
(Blocked filters: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.)
"""

from __future__ import annotations

BITS_PER_KEY = 16
PATTERN_BITS = 12
PATTERN_MASK = (1 << PATTERN_BITS) - 1
_BITS_SET = 5
_U64 = (1 << 64) - 1


def _pattern(seed: int) -> int:
    """Return five distinct bits drawn by SplitMix64 (Steele, Lea and Flood, 2014) from `seed`."""
    pattern = 0
    state = seed
    while pattern.bit_count() < _BITS_SET:
        state = (state + 0x9E37_79B9_7F4A_7C15) & _U64
        mixed = ((state ^ (state >> 30)) * 0xBF58_476D_1CE4_E5B9) & _U64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D0_49BB_1331_11EB) & _U64
        pattern |= 1 << ((mixed ^ (mixed >> 31)) & 63)
    return pattern


# On disk: a filter is only readable with the very patterns it was written with.
PATTERNS = tuple(_pattern(seed << 32) for seed in range(1 << PATTERN_BITS))


def words_for(keys: int) -> int:
    """Number of 64-bit words of a filter for up to `keys` keys."""
    return max(1, -(-keys * BITS_PER_KEY // 64))
