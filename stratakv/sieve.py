"""The sieve: which of many segments may have a key, by one word for all of them (bit-sliced filters).

    words of 64 bits
     0  magic "STRATASV"      3  lanes: how many segments it is of, at most 32
     1  format, 1             4  checksum
     2  bits
     8… lanes: two words each, the number of a segment and the checksum of its index
    72… table: 2**bits words of 32 bits; bit i is set where a key of lane i has its place

A key's place is the first `bits` bits of its hash, which its slots have in their fingerprints. The checksum
is XXH3-64 over words 0 to 3, the lanes and the table. A sieve cannot be out of step: it says which slots just
that index has, whatever has become of the store since. Where a segment has another index, or is not among the
lanes, it knows nothing of it. The file is written whole, by maintenance, and without a sync: what a power cut
leaves of it has another checksum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xxhash import xxh3_64

MAGIC = int.from_bytes(b"STRATASV", "little")
FORMAT = 1
LANES = 32
HEADER_WORDS = 72
_LANES_BEGIN = 8
_ROOMY = 16  # places for each key of a segment, on average: so one key in 16 or fewer passes for nothing
_LEAST_BITS, _MOST_BITS = 8, 24  # those of a fingerprint
SHARE = 64  # of the budget, a sieve takes no more than one part in so many, but for the least

W_MAGIC, W_FORMAT, W_BITS, W_LANES, W_CHECKSUM = range(5)


def bits_for(keys: int, max_bytes: int) -> int:
    """Return how many bits of the hash tell the place of a key.

    keys: how many a segment has, on average. max_bytes: the budget of the store.
    """
    bits = min(_MOST_BITS, max(_LEAST_BITS, (_ROOMY * keys).bit_length()))
    while bits > _LEAST_BITS and size_of(bits) * SHARE > max_bytes:
        bits -= 1
    return bits


def size_of(bits: int) -> int:
    """Return the bytes of a sieve with 2**bits places."""
    return 8 * HEADER_WORDS + 4 * (1 << bits)


LARGEST = size_of(_MOST_BITS)


class Sieve:
    """A sieve in a buffer.

    table: its words. shift: by so many bits a key's first hash half is shifted to give its place. lanes: the
    bit of each segment, by its number and the checksum of its index.
    """

    __slots__ = ("_words", "lanes", "shift", "table")

    def __init__(self, buffer: Any) -> None:
        whole = memoryview(buffer)
        self._words = whole[: 8 * HEADER_WORDS].cast("Q")
        self.table = whole[8 * HEADER_WORDS :].cast("I")
        self.shift = 64 - min(64, self._words[W_BITS])
        self.lanes: dict[tuple[int, int], int] = {}
        for lane in range(min(LANES, self._words[W_LANES])):
            begin = _LANES_BEGIN + 2 * lane
            self.lanes[self._words[begin], self._words[begin + 1]] = 1 << lane

    def start(self, bits: int) -> None:
        """Describe an empty sieve in its own header; the buffer has `size_of(bits)` bytes, all 0."""
        words = self._words
        words[W_MAGIC], words[W_FORMAT], words[W_BITS] = MAGIC, FORMAT, bits
        self.shift = 64 - bits

    def add(self, number: int, checksum: int, slots: Iterable[int]) -> None:
        """Enter a segment by the slots of its index, 0 for the empty ones; checksum: that of the index."""
        table, shift = self.table, self.shift
        lane = self._words[W_LANES]
        begin = _LANES_BEGIN + 2 * lane
        self._words[begin], self._words[begin + 1] = number, checksum
        self._words[W_LANES] = lane + 1
        self.lanes[number, checksum] = bit = 1 << lane
        for slot in slots:
            if slot:
                table[slot >> shift] |= bit

    def seal(self) -> None:
        """Write the checksum."""
        self._words[W_CHECKSUM] = self._checksum()

    def is_sound(self) -> bool:
        """Whether this is a sieve, of its size, and just as it was sealed."""
        words = self._words
        bits = words[W_BITS]
        return (
            (words[W_MAGIC], words[W_FORMAT]) == (MAGIC, FORMAT)
            and _LEAST_BITS <= bits <= _MOST_BITS
            and len(self.table) == 1 << bits
            and words[W_LANES] == len(self.lanes)
            and words[W_CHECKSUM] == self._checksum()
        )

    def _checksum(self) -> int:
        digest = xxh3_64(bytes(self._words[:W_CHECKSUM]))
        digest.update(bytes(self._words[_LANES_BEGIN:]))
        digest.update(self.table)
        return digest.intdigest()
