"""Making the sieve, the file that tells lookups which of many segments to ask."""

from __future__ import annotations

from collections.abc import Sequence

from stratakv import index, sieve
from stratakv.directory import SIEVE_NAME, Directory
from stratakv.errors import CorruptionError
from stratakv.maintenance.early_end import Pace, Take
from stratakv.segment import Segment
from stratakv.sieve import Sieve


def sift(directory: Directory, segments: Sequence[Segment], max_bytes: int, pace: Pace, take: Take) -> None:
    """Make the sieve of these sealed segments, in place of the one there is.

    max_bytes: the budget. Raises CorruptionError for an index that is damaged.
    """
    files, path = directory.files, directory.path / SIEVE_NAME
    bits = sieve.bits_for(sum(segment.sealed_entry.keys for segment in segments) // len(segments), max_bytes)
    with directory.made_anew(path) as fd:
        take(fd, sieve.size_of(bits))
        files.allocate_large(fd, sieve.size_of(bits))
        made = Sieve(files.map(fd, sieve.size_of(bits), write=True))
        made.start(bits)
        for segment in segments:
            # IMPORTANT: what was lost since the index was mapped would be missing for good.
            if not index.is_sound(segment.arrays, segment.end):
                raise CorruptionError(directory.index_path(segment.number), 0, "the index is damaged")
            made.add(segment.number, segment.arrays.header[index.W_CHECKSUM], segment.slots)
            pace(segment.end)
        made.seal()
