"""Going on within one boot: whether CONTROL and the active index are what the log says.

Both are memory that happens to have files, and neither has a checksum while it is in use. Whoever is alone
with the store can compare them with the log, which has one in every record:

    closed    the index was sealed; the words of CONTROL are compared with it and with the last record
    killed    the log is walked up to the tip, the index and the words that follow from it are made anew

Where they do not agree, the store is recovered as after a reboot. So it is where the log goes on behind the
tip: either a writer died before it could say so, or this is an older CONTROL than the last. Only logs are
synced, and a file system that was unmounted after an error has lost what else was in memory.

A log that is damaged before the tip is no reason for that, as cutting it there would bring older values back:
index and CONTROL are then all that leads to what lies behind the damage, and are left as they are. But a log
that reads as zeros from there on, or from its beginning, has lost its tail with what was in memory.
"""

from __future__ import annotations

import logging

from stratakv import index
from stratakv.control import (
    W_BUSY,
    W_CHAIN,
    W_GENERATION,
    W_INDEXED,
    W_LOGGED,
    W_NEXT,
    W_STATE,
    W_SYNCED,
    W_TIP,
    W_USED,
    Control,
    State,
    position,
)
from stratakv.directory import MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError
from stratakv.log import HEADER_BYTES, OFFSET_BITS, OFFSET_MASK
from stratakv.manifest import Manifest
from stratakv.record import LINK_MASK
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log

logger = logging.getLogger("stratakv")

MOST_AHEAD = 1 << 20  # numbers that were taken since the manifest was written; a merge takes one


def resume(directory: Directory, control: Control, found: Manifest, *, write: bool) -> bool:
    """Return whether the store can go on without a recovery; make it ready for that where `write` allows it.

    The caller is alone with the store. Raises FileNotFoundError where the log has gone, CorruptionError for
    one with a damaged header and for a manifest that is not the last there was.
    """
    words = control.words
    number, tip = words[W_TIP] >> OFFSET_BITS, words[W_TIP] & OFFSET_MASK
    segment = _mapped(directory, number, write=write)
    if segment is None or not HEADER_BYTES <= tip <= segment.end:
        return False
    if write and segment.record_at(tip):
        return False  # what would be written there may have been acknowledged, see above
    if 0 < words[W_GENERATION] - found.generation <= MOST_AHEAD and not words[W_BUSY]:
        path = directory.path / MANIFEST_NAME
        raise CorruptionError(path, 0, "the manifest is older than the one that was in use last")
    if not found.next_number <= words[W_NEXT] <= found.next_number + MOST_AHEAD or words[W_LOGGED] >> 63:
        return False
    current = words[W_GENERATION] == found.generation and number == found.active
    at_rest = current and words[W_INDEXED] == words[W_TIP]
    if words[W_STATE] != State.OPEN:
        return at_rest and _reopen(words, segment, tip, write=write)
    if words[W_BUSY] and number != found.active:
        # A writer died while it began a segment, and the next one finishes that.
        return _mapped(directory, found.active, write=write) is not None
    if not at_rest and not words[W_BUSY]:
        return False  # nobody died inside a commit, so nothing may be half done
    return not write or _remake(words, segment, tip)


def _mapped(directory: Directory, number: int, *, write: bool) -> Segment | None:
    """Open a segment with its index; None where that is missing or damaged, or the log begins with zeros."""
    try:
        segment = open_log(directory, number, write=write)
    except CorruptionError:
        if directory.files.read_all(directory.log_path(number), HEADER_BYTES).strip(b"\0"):
            raise
        return None  # nothing of it was synced, as after a reboot
    return segment if map_index(directory, segment, write=write) else None


def _reopen(words: memoryview, segment: Segment, tip: int, *, write: bool) -> bool:
    """Return whether a closed store is as its last user left it; it is open then, where `write` allows it."""
    if not _is_sealed(words, segment, tip):
        return False
    if write:
        # What is written to it from now on is not in its checksum. IMPORTANT: the state first, as an index
        # without a seal is believed only where it says "open".
        words[W_STATE] = State.OPEN
        segment.arrays.header[index.W_SEALED] = 0
    return True


def _is_sealed(words: memoryview, segment: Segment, tip: int) -> bool:
    """Whether the index and CONTROL are what the last user left."""
    arrays = segment.arrays
    if not index.is_sound(arrays, tip) or arrays.header[index.W_KEYS] != words[W_USED]:
        return False
    if tip == HEADER_BYTES:
        return words[W_CHAIN] == segment.header.first_link
    # Where the last record is damaged, or very long, there is nothing to compare with.
    links = [found.checksum & LINK_MASK for found in segment.last_records(tip)]
    return words[W_CHAIN] in links if links else words[W_CHAIN] <= LINK_MASK


def _remake(words: memoryview, segment: Segment, tip: int) -> bool:
    """Make the index anew in its place, and the words that follow from the log."""
    arrays = segment.arrays
    try:
        segment.read_ranges()
        latest = segment.latest(tip)
    except CorruptionError as damage:
        if not segment.log[damage.offset : tip].strip(b"\0"):
            return False  # it has lost its tail, as after a reboot; whatever else changes leaves something
        # As text: a handler that keeps the error would keep the maps of its frames open.
        logger.error("%s; the index of the log is left as it is", str(damage))
        words[W_USED] = index.occupied(arrays)  # else the table might fill up, and a probe never end
        # A put over a key that is there sets no bits, and would not be found if these were lost.
        arrays.bloom[:] = memoryview(b"\xff" * arrays.bloom.nbytes).cast("Q")
        return True
    if len(latest) >= arrays.shape.slots:
        return False
    fresh = index.arrays(bytearray(arrays.shape.size), arrays.shape)
    index.fill(fresh, latest.items())
    if words[W_INDEXED] != words[W_TIP]:
        logger.warning("%s: a writer stopped inside its commit; indexed up to byte %d", segment.path, tip)
    # IMPORTANT: the filter before the slots, as for every writer: a process that dies here leaves no slot
    # without its bits.
    arrays.bloom[:], arrays.slots[:] = fresh.bloom, fresh.slots
    words[W_USED], words[W_INDEXED] = len(latest), words[W_TIP]
    last = segment.record_at(max(latest.values())) if latest else None
    words[W_CHAIN] = last.checksum & LINK_MASK if last else segment.chain
    if words[W_SYNCED] > words[W_TIP]:
        words[W_SYNCED] = position(segment.number, 0)
    return True
