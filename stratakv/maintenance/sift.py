"""Making the sieve: the file that tells lookups which of many segments to ask."""

from __future__ import annotations

from collections.abc import Sequence

from stratakv import index, sieve
from stratakv.directory import SIEVE_NAME, Directory
from stratakv.errors import CorruptionError, reported
from stratakv.maintenance.early_end import Pace, Take
from stratakv.segment import Segment
from stratakv.sieve import Sieve


def sift(directory: Directory, segments: Sequence[Segment], pace: Pace, take: Take) -> None:
    """Make the sieve of these sealed segments, in place of the one there is."""
    files, path = directory.files, directory.path / SIEVE_NAME
    temporary = path.with_suffix(".tmp")
    bits = sieve.bits_for(sum(segment.sealed_entry.keys for segment in segments) // len(segments))
    size = sieve.size_of(bits)
    with reported(path):
        files.unlink(temporary)
        fd = directory.open(temporary, write=True, create=True)
        try:
            take(fd, size)
            files.allocate_large(fd, size)
            made = Sieve(files.map(fd, size, write=True))
        finally:
            files.close(fd)
        made.start(bits)
        for segment in segments:
            # IMPORTANT: a slot that was lost since the index was mapped would be missing for good.
            if not index.is_sound(segment.arrays, segment.end):
                raise CorruptionError(directory.index_path(segment.number), 0, "the index is damaged")
            made.add(segment.number, segment.header.first_link, segment.slots)
            pace(segment.end)
        made.seal()
        files.rename(temporary, path)
