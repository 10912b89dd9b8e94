"""Building the index of a log that has none, or none that can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from stratakv import index, record
from stratakv.directory import Directory
from stratakv.errors import storage_error
from stratakv.segment import Segment


def build_index(
    directory: Directory, segment: Segment, keys: Sequence[tuple[bytes, int]] | None, *, write: bool
) -> None:
    """Build, seal and attach the index of a log that is complete.

    keys: each key with the offset of its last record; None for a compacted log, which is walked instead.
    write: put it on disk, durably; otherwise it lives in this process's memory.
    """
    ordered = keys is None
    count = sum(1 for _ in _entries(segment)) if keys is None else len(keys)
    shape = index.Shape.exact(count, ordered=ordered)
    if not write:
        _fill(segment, bytearray(shape.size), shape, keys)
        return
    files, path = directory.files, directory.index_path(segment.number)
    temporary = path.with_suffix(f".{files.process()}.tmp")  # two processes may both find it missing
    try:
        files.unlink(temporary)
        fd = directory.open(temporary, write=True, create=True)
        try:
            files.allocate(fd, shape.size)
            _fill(segment, files.map(fd, shape.size, write=True), shape, keys)
            files.fdatasync(fd)
        finally:
            files.close(fd)
        files.rename(temporary, path)
    except OSError as cause:
        raise storage_error(path, cause) from cause


def _entries(segment: Segment) -> Iterator[tuple[bytes, int]]:
    return ((found.key, found.offset) for found in segment.records() if found.kind != record.END)


def _fill(
    segment: Segment, buffer: Any, shape: index.Shape, keys: Sequence[tuple[bytes, int]] | None
) -> None:
    segment.attach_index(buffer, shape)
    arrays = segment.arrays
    index.write_header(arrays, segment.number)
    count = index.fill(arrays, _entries(segment) if keys is None else keys)
    if shape.order:
        for place, (_, offset) in enumerate(islice(_entries(segment), 0, None, index.ORDER_STRIDE)):
            arrays.order[place] = offset
    index.seal(arrays, count, segment.end)
