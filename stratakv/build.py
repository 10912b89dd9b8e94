"""Building the index of a log that is complete: that has none, none to trust, or not its final one yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from stratakv import index, record
from stratakv.directory import Directory
from stratakv.errors import reported
from stratakv.index import ORDER_STRIDE, Shape
from stratakv.segment import Segment


def build_index(
    directory: Directory,
    segment: Segment,
    *,
    ordered: bool,
    write: bool,
    elected: bool = False,
    take: Callable[[int, int], None] = lambda fd, end: None,
) -> None:
    """Build, seal and attach the index of a sealed log, its hot bytes all 0.

    ordered: in its final form, with the offsets in key order, and durable. write: put it on disk; otherwise
    it lives in this process's memory. elected: this is the one process that does maintenance. take: is told
    file and size first, and raises what is wrong with that.
    """
    if segment.header.ordered:
        count, stride, keys = sum(1 for _ in entries(segment)), ORDER_STRIDE, None
    else:
        keys = sorted(segment.latest(segment.end).items())
        count, stride = len(keys), int(ordered)
    shape = Shape.exact(count, stride)
    if not write:
        _fill(segment, bytearray(shape.size), shape, keys, 0)
        return
    files, path = directory.files, directory.index_path(segment.number)
    # Two processes may both find it missing; what the elected one leaves behind, the next one removes.
    temporary = path.with_suffix(".tmp" if elected else f".{files.random_u32()}.tmp")
    with reported(path):
        try:
            files.unlink(temporary)
            fd = directory.open(temporary, write=True, create=True)
            try:
                take(fd, shape.size)
                files.allocate_large(fd, shape.size)
                _fill(segment, files.map(fd, shape.size, write=True), shape, keys, files.inode(fd))
                if ordered:  # else it is made anew soon, and would be found out if a power cut took it
                    files.fdatasync(fd)
            finally:
                files.close(fd)
            files.rename(temporary, path)
        except OSError:
            with suppress(OSError):  # a full disk must not fill up with attempts
                files.unlink(temporary)
            raise


def entries(segment: Segment) -> Iterator[tuple[bytes, int]]:
    """Yield key and offset of each record of a sealed log, in its order."""
    return ((found.key, found.offset) for found in segment.records() if found.kind <= record.TOMBSTONE)


def _fill(
    segment: Segment, buffer: Any, shape: Shape, keys: Sequence[tuple[bytes, int]] | None, inode: int
) -> None:
    segment.attach_index(buffer, shape, inode)
    arrays = segment.arrays
    index.write_header(arrays, segment.number)
    count = index.fill(arrays, entries(segment) if keys is None else keys)
    if shape.order:
        ordered = entries(segment) if keys is None else iter(keys)
        for place, (_, offset) in enumerate(islice(ordered, 0, None, shape.stride)):
            arrays.order[place] = offset
    index.seal(arrays, count, segment.end)
