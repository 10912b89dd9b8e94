"""An index: an open-addressing hash table over one log, as fixed arrays in one buffer.

    header   128 bytes, see below
    slots    u64 each: fingerprint in the high 24 bits, log offset in the low 40; 0 is empty (no
             record can be at offset 0, where the log has its header)
    bloom    u64 words, see `bloom`
    hot      one byte per slot, filled up to whole words: how often its key was read, up to `HOTTEST`
    order    u64 log offsets in key order, of every `stride`-th key; none until maintenance has been here

    header, little-endian u64 words:
     0  magic "STRATAIX"        5  length of order        10  checksum
     1  format, 1               6  stride
     2  number of the segment   7  keys in the table
     3  slots                   8  bytes of the log that the index covers
     4  Bloom words             9  sealed: 1 when the checksum holds for what is in the file

The checksum is XXH3-64 over words 0 to 9, the slots, the Bloom words and the order. Hot bytes are left out:
readers of a store with a budget count in them without a lock, and a lost one costs nothing. A key's home is
its first hash half modulo the number of slots; collisions probe the next slot, around the end. A slot is a
hint: only the record it points to says which key it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmh3 import mmh3_x64_128_utupledigest
from xxhash import xxh3_64

from stratakv import bloom
from stratakv.log import OFFSET_BITS

HEADER_BYTES = 128
FORMAT = 1
MAGIC = int.from_bytes(b"STRATAIX", "little")
FINGERPRINT = (1 << 64) - (1 << OFFSET_BITS)  # the mask of a slot's fingerprint, and of a hash's
ORDER_STRIDE = 16  # where the log itself is in key order; 1 where it is not
HOTTEST = 3
YOUNG_KEYS = 65_536  # an active index is made for this many keys at most

W_MAGIC, W_FORMAT, W_NUMBER, W_SLOTS, W_WORDS, W_ORDER, W_STRIDE, W_KEYS, W_COVERED, W_SEALED, W_CHECKSUM = (
    range(11)
)

hash_key = mmh3_x64_128_utupledigest


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of an index, from which the place of everything in it follows."""

    slots: int
    words: int
    order: int = 0
    stride: int = 0

    @property
    def bloom_offset(self) -> int:
        return HEADER_BYTES + 8 * self.slots

    @property
    def hot_offset(self) -> int:
        return self.bloom_offset + 8 * self.words

    @property
    def order_offset(self) -> int:
        return self.hot_offset + -(-self.slots // 8) * 8

    @property
    def size(self) -> int:
        return self.order_offset + 8 * self.order

    @classmethod
    def young(cls, keys: int) -> Shape:
        """Half full at most: a put probes 1.5 slots, and room costs little in a file this short-lived."""
        return cls(2 * keys, bloom.words_for(keys))

    @classmethod
    def exact(cls, keys: int, stride: int) -> Shape:
        """Five eighths full: 1.8 probes for a hit, 16.4 bytes a key and 8 for each key of the order.

        stride: every so many keys, one is in the order; 0 for no order.
        """
        order = -(-keys // stride) if stride else 0
        keys = max(1, keys)
        return cls(-(-keys * 8 // 5), bloom.words_for(keys), order, stride)


@dataclass(slots=True)
class Arrays:
    """The arrays of one index, as views of its buffer."""

    shape: Shape
    header: memoryview
    slots: memoryview
    bloom: memoryview
    hot: memoryview
    order: memoryview


def arrays(buffer: Any, shape: Shape) -> Arrays:
    """Lay the views of an index of `shape` over a buffer of at least `shape.size` bytes."""
    whole = memoryview(buffer)
    return Arrays(
        shape,
        whole[:HEADER_BYTES].cast("Q"),
        whole[HEADER_BYTES : shape.bloom_offset].cast("Q"),
        whole[shape.bloom_offset : shape.hot_offset].cast("Q"),
        whole[shape.hot_offset : shape.hot_offset + shape.slots],
        whole[shape.order_offset : shape.size].cast("Q"),
    )


def write_header(index: Arrays, number: int) -> None:
    """Describe an empty index in its own header."""
    shape, header = index.shape, index.header
    header[W_MAGIC], header[W_FORMAT], header[W_NUMBER] = MAGIC, FORMAT, number
    header[W_SLOTS], header[W_WORDS], header[W_ORDER] = shape.slots, shape.words, shape.order
    header[W_STRIDE] = shape.stride


def read_shape(buffer: Any, size: int, number: int) -> Shape | None:
    """Return the shape that the header in `buffer` claims, if it is one of an index of `size` bytes.

    A table without an empty slot is none: in it, a probe for a key that is not there would never end.
    """
    header = memoryview(buffer)[:HEADER_BYTES].cast("Q")
    shape = Shape(header[W_SLOTS], header[W_WORDS], header[W_ORDER], header[W_STRIDE])
    claims = (header[W_MAGIC], header[W_FORMAT], header[W_NUMBER])
    if claims != (MAGIC, FORMAT, number) or not shape.slots or not shape.words or shape.size != size:
        return None
    return shape if 0 in memoryview(buffer)[HEADER_BYTES : shape.bloom_offset].cast("Q") else None


def is_described(index: Arrays, number: int) -> bool:
    """Whether the header still says which index this is."""
    shape = index.shape
    claims = [MAGIC, FORMAT, number, shape.slots, shape.words, shape.order, shape.stride]
    return _header(index, W_STRIDE + 1).tolist() == claims


def seal(index: Arrays, keys: int, covered: int) -> None:
    """Write the checksum of the index, as that of `covered` bytes of log."""
    index.header[W_KEYS], index.header[W_COVERED], index.header[W_SEALED] = keys, covered, 1
    index.header[W_CHECKSUM] = checksum(index)


def is_sound(index: Arrays, covered: int) -> bool:
    """Whether the index was sealed as that of just `covered` bytes of its log, and its checksum holds."""
    header = index.header
    if header[W_SEALED] != 1 or header[W_COVERED] != covered:
        return False
    return header[W_CHECKSUM] == checksum(index)


def checksum(index: Arrays) -> int:
    digest = xxh3_64(_header(index, W_CHECKSUM))
    for part in (index.slots, index.bloom, index.order):
        digest.update(part)
    return digest.intdigest()


def _header(index: Arrays, count: int) -> array[int]:
    """Return the first words of the header. One by one: see `segment.sliceable` on what threads may slice."""
    return array("Q", [index.header[place] for place in range(count)])


def fill(index: Arrays, entries: Iterable[tuple[bytes, int]]) -> int:
    """Enter distinct keys with their log offsets into an empty table; return how many they were."""
    slots, words = index.slots, index.bloom
    size, filter_size = index.shape.slots, index.shape.words
    count = 0
    for key, offset in entries:
        first, second = hash_key(key)
        place = first % size
        while slots[place]:
            place += 1
            if place == size:
                place = 0
        slots[place] = first & FINGERPRINT | offset
        words[first % filter_size] |= bloom.PATTERNS[second & bloom.PATTERN_MASK]
        count += 1
    return count


def occupied(index: Arrays) -> int:
    """Return how many slots are not empty."""
    return len(index.slots) - index.slots.tolist().count(0)


def place_of(index: Arrays, key: bytes, offset: int) -> int:
    """Return the slot that leads from `key` to `offset`; raises LookupError where there is none."""
    slots, size = index.slots, index.shape.slots
    first, _ = hash_key(key)
    place, wanted = first % size, first & FINGERPRINT | offset
    if slots[place] == wanted:  # as for most keys, and the loop would take them twice as long
        return place
    for _ in range(size):  # damaged, it may have no empty slot to end at
        slot = slots[place]
        if slot == wanted:
            return place
        if not slot:
            break
        place = (place + 1) % size
    raise LookupError(key)


def heat_of(index: Arrays, key: bytes, offset: int) -> int:
    """Return how often a key was read, up to `HOTTEST`; 0 where a damaged index does not lead to it."""
    try:
        return int(index.hot[place_of(index, key, offset)])
    except LookupError:
        return 0


def copy_hot(source: Arrays, target: Arrays, entries: Iterable[tuple[bytes, int]]) -> None:
    """Give the keys of `target` the hot bytes that they have in `source`, another index of the same log."""
    for key, offset in entries:
        heat = heat_of(source, key, offset)
        if heat:
            target.hot[place_of(target, key, offset)] = heat
