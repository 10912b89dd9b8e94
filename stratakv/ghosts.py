"""Ghosts: which keys were evicted lately, so that one that returns is known to be wanted.

    words of 64 bits
     0  magic "STRATAGH"      3  evictions: how many there have been, modulo 2**32
     1  format, 1             4  memory: for how many evictions a ghost is remembered
     2  entries
     8… entries: number of the eviction in the high 32 bits, fingerprint of the key in the low 32

A key's place is its first hash half modulo the number of entries, its fingerprint the high half of that. A
later ghost takes the place of an earlier one, and a torn or a lost entry costs no more than a colder start.
(The ghost queue of S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", 2023.)
"""

from __future__ import annotations

from typing import Any

MAGIC = int.from_bytes(b"STRATAGH", "little")
FORMAT = 1
HEADER_WORDS = 8
_LEAST_ENTRIES, _MOST_ENTRIES = 1 << 9, 1 << 22
_SHARE = 64  # the table takes no more than this part of the budget, or 4 KiB
_MASK = 0xFFFF_FFFF

W_MAGIC, W_FORMAT, W_ENTRIES, W_EVICTIONS, W_MEMORY = range(5)


def entries_for(keys: int, max_bytes: int) -> int:
    """Return how many entries a table has for so many keys and this budget: 4 KiB to 32 MiB of them."""
    wanted = _LEAST_ENTRIES
    while wanted < 2 * keys and wanted < _MOST_ENTRIES and 2 * 8 * wanted <= max_bytes // _SHARE:
        wanted *= 2
    return wanted


def size_of(entries: int) -> int:
    """Return the bytes that a table of so many entries takes."""
    return 8 * (HEADER_WORDS + entries)


class Ghosts:
    """A table in a buffer that all processes share."""

    __slots__ = ("_entries", "_header", "count")

    def __init__(self, buffer: Any) -> None:
        words = memoryview(buffer).cast("Q")
        self._header = words[:HEADER_WORDS]
        self._entries = words[HEADER_WORDS:]
        self.count = len(self._entries)

    def start(self) -> None:
        """Describe an empty table in its own header."""
        header = self._header
        header[W_MAGIC], header[W_FORMAT], header[W_ENTRIES] = MAGIC, FORMAT, self.count

    def is_sound(self) -> bool:
        """Whether this is a table, and of the size it says."""
        header = self._header
        claims = (header[W_MAGIC], header[W_FORMAT], header[W_ENTRIES])
        return claims == (MAGIC, FORMAT, self.count)

    def set_memory(self, evictions: int) -> None:
        """Remember each ghost for so many evictions."""
        self._header[W_MEMORY] = evictions

    def add(self, first: int) -> None:
        """Remember the key whose first hash half this is."""
        header = self._header
        header[W_EVICTIONS] = number = (header[W_EVICTIONS] + 1) & _MASK
        self._entries[first % self.count] = number << 32 | first >> 32

    def recall(self, first: int) -> bool:
        """Whether the key whose first hash half this is was evicted lately; forget it, as it is back."""
        place = first % self.count
        entry = self._entries[place]
        if not entry or entry & _MASK != first >> 32:
            return False
        self._entries[place] = 0
        header = self._header
        return bool((header[W_EVICTIONS] - (entry >> 32)) & _MASK < header[W_MEMORY])
