"""Opening what a manifest names, with what is derived made anew where it is missing."""

from __future__ import annotations

import logging
from typing import Any

from stratakv import ghosts, index, sieve
from stratakv.budget import segment_capacity
from stratakv.build import build_in_memory, build_index
from stratakv.directory import GHOSTS_NAME, SIEVE_NAME, Directory
from stratakv.errors import CorruptionError
from stratakv.files import now_ms
from stratakv.ghosts import Ghosts
from stratakv.log import LogHeader, rank_of
from stratakv.manifest import Entry, Manifest
from stratakv.segment import Segment
from stratakv.segment_files import create_active, map_index, open_log
from stratakv.sieve import Sieve

logger = logging.getLogger("stratakv")

_LEAST_KEYS = 64  # of an active index
_KEPT_BYTES = 8 * 2**20  # an index that is not larger stays mapped as a whole once it has been verified
_SAMPLE_BYTES = 16_384  # of log, from which the next index is sized


def open_sealed(directory: Directory, entry: Entry, *, write: bool) -> Segment:
    """Open a sealed segment; where its index is missing or not sound, it is built anew.

    Every process verifies what it maps, at 0.05 to 0.15 ms for each MB of index: a lost bit would uncover
    older versions, and nothing else would tell.
    """
    segment = open_log(directory, entry.number, entry, write=write)
    mapped = map_index(directory, segment, write=write)
    if not mapped or not index.is_sound(segment.arrays, entry.size):
        if mapped and segment.arrays.header[index.W_SEALED]:  # not merely what a power cut has left unsealed
            logger.warning("%s: its index is damaged, and is built anew", segment.path)
        if write:
            build_index(directory, segment, ordered=entry.finished)
        else:
            build_in_memory(segment, ordered=entry.finished)
    elif segment.arrays.shape.size > _KEPT_BYTES:
        # Most of what was read to verify it may never be asked for, and looking a key up maps it again.
        buffer: Any = segment.arrays.header.obj
        directory.files.forget(buffer, 0, segment.arrays.shape.size)
    return segment


def check_indexes(directory: Directory, found: Manifest) -> None:
    """Verify the index of every sealed segment before anybody trusts it; build those that are not sound."""
    for entry in found.segments:
        try:
            open_sealed(directory, entry, write=True)
        except FileNotFoundError:
            path = directory.log_path(entry.number)
            raise CorruptionError(path, 0, "the manifest names the file, and it is missing") from None


def begin_empty(
    directory: Directory, number: int, floor: int, segment_bytes: int, max_bytes: int
) -> LogHeader:
    """Make the files of segment `number`, which is to be written to and holds nothing yet, durably.

    segment_bytes, max_bytes: the option and the budget, 0 for none, that say how large it is.
    """
    rank = rank_of(number)
    header = LogHeader(number, rank, rank, floor, directory.files.random_u32(), now_ms())
    capacity = segment_capacity(segment_bytes, max_bytes)
    create_active(directory, header, capacity, young_keys(capacity))
    directory.sync()
    return header


def map_ghosts(directory: Directory) -> Ghosts | None:
    """Map the table of ghosts; None where the file holds none. Raises FileNotFoundError."""
    files = directory.files
    with directory.open(directory.path / GHOSTS_NAME, write=True) as file:
        size = files.size(file.fileno())
        if size <= ghosts.size_of(0) or size % 8:
            return None
        found = Ghosts(files.map(file.fileno(), size, write=True))
    return found if found.is_sound() else None


def map_sieve(directory: Directory) -> Sieve | None:
    """Map the sieve; None where the file holds none, or a damaged one. Raises FileNotFoundError."""
    files = directory.files
    path = directory.path / SIEVE_NAME
    with directory.open(path, write=False) as file:
        size = files.size(file.fileno())
        if not sieve.size_of(0) < size <= sieve.LARGEST or size % 8:
            return None
        found = Sieve(files.map(file.fileno(), size, write=False))
    if found.is_sound():
        return found
    logger.warning("%s is damaged, and is not used; maintenance makes another one", path)
    return None


def young_keys(capacity: int, last: Entry | None = None) -> int:
    """Return how many keys the index of an active segment of `capacity` bytes is made for.

    That is half as many again as `last`, the segment before it, would have had at that size.
    """
    most = min(index.YOUNG_KEYS, capacity // 32 + 1)
    if last is None or last.size < min(capacity // 4, _SAMPLE_BYTES):
        return most
    return min(most, max(_LEAST_KEYS, capacity * last.keys * 3 // (last.size * 2)))
