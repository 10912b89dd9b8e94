"""The index: its layout, what fills it, and how damage to it is noticed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratakv import bloom, index
from stratakv.index import Arrays, Shape
from stratakv.log import OFFSET_MASK

MAGIC = b"STRATAIX"


def build(keys: dict[bytes, int], *, stride: int = 0, number: int = 7) -> tuple[bytearray, Arrays]:
    shape = Shape.exact(len(keys), stride)
    buffer = bytearray(shape.size)
    arrays = index.arrays(buffer, shape)
    index.write_header(arrays, number)
    count = index.fill(arrays, keys.items())
    index.seal(arrays, count, 4096)
    return buffer, arrays


def may_hold(arrays: Arrays, key: bytes) -> bool:
    first, second = index.hash_key(key)
    pattern = bloom.PATTERNS[second & 0xFFF]
    return arrays.bloom[first % arrays.shape.words] & pattern == pattern


def candidates(arrays: Arrays, key: bytes) -> list[int]:
    """The offsets that a probe for `key` meets."""
    first, size = index.hash_key(key)[0], arrays.shape.slots
    place, found = first % size, []
    while slot := arrays.slots[place]:
        if slot >> 40 == first >> 40:
            found.append(slot & OFFSET_MASK)
        place = (place + 1) % size
    return found


def test_hash_is_frozen() -> None:
    assert index.hash_key(b"key") == (0xA0F887F3011D3EBC, 0xBCE05D3B152CA3CD)


def test_header_is_frozen() -> None:
    buffer, arrays = build({b"key": 64}, stride=16)
    words = struct.unpack_from("<10Q", buffer)
    assert buffer[:8] == MAGIC
    assert words[1:] == (1, 7, arrays.shape.slots, arrays.shape.words, 1, 16, 1, 4096, 1)


def test_places_of_the_arrays_are_frozen() -> None:
    shape = Shape(slots=100, words=10, order=3)
    assert (shape.bloom_offset, shape.hot_offset, shape.order_offset, shape.size) == (928, 1008, 1112, 1136)


def test_a_slot_is_fingerprint_and_offset() -> None:
    buffer, arrays = build({b"key": 0xABCDEF})
    first = index.hash_key(b"key")[0]
    place = first % arrays.shape.slots
    (slot,) = struct.unpack_from("<Q", buffer, 128 + 8 * place)
    assert slot == (first >> 40 << 40) | 0xABCDEF


entries = st.dictionaries(st.binary(min_size=1, max_size=12), st.integers(64, 2**40 - 1), max_size=200)


@settings(max_examples=60)
@given(entries)
def test_every_key_entered_is_found(keys: dict[bytes, int]) -> None:
    _, arrays = build(keys)
    for key, offset in keys.items():
        assert may_hold(arrays, key)
        assert offset in candidates(arrays, key)


def test_few_absent_keys_pass_the_filter() -> None:
    _, arrays = build({b"%d" % number: 64 + number for number in range(5000)})
    assert sum(may_hold(arrays, b"absent %d" % number) for number in range(5000)) < 100


def test_table_is_never_full() -> None:
    """A probe ends at an empty slot; without one it would go round for ever."""
    for keys in (0, 1, 2, 3, 1000):
        assert Shape.exact(keys, 0).slots > keys
        assert Shape.young(max(1, keys)).slots > keys


def test_every_flipped_bit_of_a_sealed_index_is_noticed() -> None:
    buffer, arrays = build({b"a": 64, b"b": 100}, stride=16)
    assert index.is_sound(arrays, 4096)
    shape = arrays.shape
    checked = [
        *range(8 * 11),
        *range(index.HEADER_BYTES, shape.hot_offset),
        *range(shape.order_offset, shape.size),
    ]
    for place in checked:
        for bit in range(8):
            buffer[place] ^= 1 << bit
            assert not index.is_sound(arrays, 4096), f"byte {place}, bit {bit}"
            buffer[place] ^= 1 << bit
    assert index.is_sound(arrays, 4096)


def test_hot_bytes_are_not_checked() -> None:
    _, arrays = build({b"a": 64})
    arrays.hot[0] = 1
    assert index.is_sound(arrays, 4096)


def test_an_index_of_another_length_of_log_is_not_sound() -> None:
    _, arrays = build({b"a": 64})
    assert not index.is_sound(arrays, 4097)


def test_shape_is_read_back() -> None:
    buffer, arrays = build({b"a": 64, b"b": 99}, stride=16)
    assert index.read_shape(buffer, len(buffer), 7) == arrays.shape


@pytest.mark.parametrize("word", range(6))
def test_a_header_that_does_not_fit_is_refused(word: int) -> None:
    buffer, _ = build({b"a": 64}, stride=16)
    header = memoryview(buffer)[:128].cast("Q")
    for value in (2**63, 2**64 - 1):
        kept, header[word] = header[word], value
        assert index.read_shape(buffer, len(buffer), 7) is None
        header[word] = kept


def test_a_full_table_is_refused() -> None:
    """A probe for a key that is not in it would never end."""
    arrays = index.arrays(buffer := bytearray(Shape(3, 1).size), Shape(3, 1))
    index.write_header(arrays, 7)
    arrays.slots[0] = arrays.slots[2] = 1
    assert index.read_shape(buffer, len(buffer), 7) == Shape(3, 1)
    assert index.occupied(arrays) == 2
    arrays.slots[1] = 1
    assert index.read_shape(buffer, len(buffer), 7) is None


def test_an_index_of_another_segment_is_refused() -> None:
    buffer, _ = build({b"a": 64})
    assert index.read_shape(buffer, len(buffer), 8) is None
    assert index.read_shape(buffer, len(buffer) - 1, 7) is None


def test_hot_bytes_move_with_their_keys() -> None:
    keys = {b"%d" % number: 64 + number for number in range(500)}
    _, source = build(keys)
    _, target = build(keys, stride=1)
    target_before = bytes(target.slots)
    for number, (key, offset) in enumerate(keys.items()):
        source.hot[index.place_of(source, key, offset)] = number % 4
    index.copy_hot(source, target, keys.items())
    for number, (key, offset) in enumerate(keys.items()):
        assert target.hot[index.place_of(target, key, offset)] == number % 4
    assert bytes(target.slots) == target_before


def test_a_key_without_a_slot_has_no_place() -> None:
    _, arrays = build({b"a": 64})
    with pytest.raises(LookupError):
        index.place_of(arrays, b"b", 64)


@pytest.mark.parametrize("full", [False, True])
def test_a_damaged_index_tells_no_heat(full: bool) -> None:
    _, arrays = build({b"key": 64})
    place = index.place_of(arrays, b"key", 64)
    arrays.hot[place] = 3
    assert index.heat_of(arrays, b"key", 64) == 3
    arrays.slots[place] = 65 if full else 0
    for other in range(arrays.shape.slots if full else 0):
        arrays.slots[other] = 65  # no empty one is left to end at
    assert index.heat_of(arrays, b"key", 64) == 0
