"""Making the sieve, the file that tells lookups which of many segments to ask."""

from __future__ import annotations

from collections.abc import Sequence

from stratakv import index, sieve
from stratakv.directory import SIEVE_NAME, Directory
from stratakv.errors import reported
from stratakv.interrupted import unless_refused
from stratakv.maintenance.early_end import Pace, Take
from stratakv.segment import Segment
from stratakv.sieve import Sieve


def sift(
    directory: Directory, segments: Sequence[Segment], max_bytes: int, pace: Pace, take: Take
) -> Segment | None:
    """Make the sieve of these sealed segments, in place of the one there is, or return one that is damaged.

    max_bytes: the budget.
    """
    files, path = directory.files, directory.path / SIEVE_NAME
    temporary = path.with_suffix(".tmp")
    bits = sieve.bits_for(sum(segment.sealed_entry.keys for segment in segments) // len(segments), max_bytes)
    with reported(path):
        try:
            files.unlink(temporary)
            fd = directory.open(temporary, write=True, create=True)
            try:
                take(fd, sieve.size_of(bits))
                files.allocate_large(fd, sieve.size_of(bits))
                made = Sieve(files.map(fd, sieve.size_of(bits), write=True))
            finally:
                files.close(fd)
            made.start(bits)
            for segment in segments:
                # IMPORTANT: what was lost since the index was mapped would be missing for good.
                if not index.is_sound(segment.arrays, segment.end):
                    files.unlink(temporary)
                    return segment
                made.add(segment.number, segment.arrays.header[index.W_CHECKSUM], segment.slots)
                pace(segment.end)
            made.seal()
            files.rename(temporary, path)
        except BaseException:
            with unless_refused():
                files.unlink(temporary)
            raise
    return None
