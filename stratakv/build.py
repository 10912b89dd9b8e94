"""Building the index of a log that is complete: that has none, none to trust, or not its final one yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from stratakv import index, record
from stratakv.directory import Directory
from stratakv.index import ORDER_STRIDE, Arrays, Shape
from stratakv.segment import Segment


def build_index(
    directory: Directory,
    segment: Segment,
    *,
    ordered: bool,
    hot: Arrays | None = None,
    elected: bool = False,
    take: Callable[[int, int], None] = lambda fd, end: None,
) -> None:
    """Build the index of a sealed log as its file on disk, and seal and attach it.

    ordered: in its final form, with the offsets in key order, and durable. hot: the index whose hot bytes it
    gets; without one they are all 0. elected: this is the one process that does maintenance. take: called
    with the file and its size before it is written; raises where there is no room for that.
    """
    shape, keys = _layout(segment, ordered=ordered)
    files, path = directory.files, directory.index_path(segment.number)
    # Two processes may both find it missing; what the elected one leaves behind, the next one removes.
    temporary = path.with_suffix(".tmp" if elected else f".{files.random_u32()}.tmp")
    with directory.made_anew(path, temporary) as fd:
        take(fd, shape.size)
        files.allocate_large(fd, shape.size)
        _fill(segment, files.map(fd, shape.size, write=True), shape, keys, files.inode(fd))
        if ordered:  # else it is made anew soon, and would be found out if a power cut took it
            files.fdatasync(fd)
    if hot:  # as late as that: readers count in it meanwhile
        index.copy_hot(hot, segment.arrays, entries(segment) if keys is None else keys)


def build_in_memory(segment: Segment, *, ordered: bool) -> None:
    """Do the same in the memory of this process alone, which may not write to the disk."""
    shape, keys = _layout(segment, ordered=ordered)
    _fill(segment, bytearray(shape.size), shape, keys, 0)


def _layout(segment: Segment, *, ordered: bool) -> tuple[Shape, Sequence[tuple[bytes, int]] | None]:
    """Return the shape of the index of a log, and each key with the offset of its last record, in key order.

    The second is None for a log that is in key order itself: it is read again as the index is filled, so that
    its keys need not all be in memory.
    """
    if segment.header.ordered:
        return Shape.exact(sum(1 for _ in entries(segment)), ORDER_STRIDE), None
    keys = sorted(segment.latest(segment.end).items())
    return Shape.exact(len(keys), int(ordered)), keys


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
