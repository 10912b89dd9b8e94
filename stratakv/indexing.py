"""Entering records in the active index: one by one as they are committed, or what a dead writer left."""

from __future__ import annotations

from stratakv import record
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.control import W_CHAIN, W_INDEXED, W_TIP, W_USED
from stratakv.ghosts import Ghosts
from stratakv.index import FINGERPRINT, hash_key, occupied
from stratakv.log import OFFSET_MASK
from stratakv.record import LINK_MASK, unpack_header
from stratakv.segment import Segment


def insert(
    words: memoryview,
    segment: Segment,
    key: bytes,
    first: int,
    second: int,
    offset: int,
    ghosts: Ghosts | None,
) -> None:
    """Point the active index at the record at `offset`, in the slot that its key has or in a new one.

    A key among the ghosts was evicted too early: it begins hot.
    """
    slots, size = segment.slots, segment.slot_count
    place = first % size
    tag = first & FINGERPRINT
    while slot := slots[place]:
        slot ^= tag
        if slot <= OFFSET_MASK and takes_over(segment, slot, key):
            slots[place] = tag | offset
            return
        place += 1
        if place == size:
            place = 0
    # IMPORTANT: the filter before the slot. Whoever heals a half-done commit takes a slot that is there as
    # proof that its bits are, too.
    segment.bloom[first % segment.word_count] |= PATTERNS[second & PATTERN_MASK]
    if ghosts is not None and ghosts.recall(first):
        segment.hot[place] = 1
    slots[place] = tag | offset
    words[W_USED] += 1


def takes_over(segment: Segment, offset: int, key: bytes) -> bool:
    """Whether a new record of `key` may have the slot of the record at `offset`.

    It may when that is of the same key, or so damaged that it could be: in front of the new record it would
    end every lookup.
    """
    start = offset + record.HEADER_BYTES
    if segment.log[start : start + unpack_header(segment.view, offset)[3]] == key:
        return True
    return segment.record_at(offset) is None


def catch_up(words: memoryview, segment: Segment) -> bool:
    """Enter what stands below the tip and is not indexed; return whether that was anything.

    Its writer died inside its commit.
    """
    offset, tip = words[W_INDEXED] & OFFSET_MASK, words[W_TIP] & OFFSET_MASK
    while offset < tip:
        found = segment.sound(offset)
        first, second = hash_key(found.key)
        insert(words, segment, found.key, first, second, offset, None)
        words[W_CHAIN] = found.checksum & LINK_MASK
        offset = found.end
    # Dying between a slot and its count leaves one too few, and merges are sized by what segments count.
    words[W_USED] = occupied(segment.arrays)
    lagged = bool(words[W_INDEXED] != words[W_TIP])
    words[W_INDEXED] = words[W_TIP]
    return lagged
