"""A segment: a log and its index, mapped, as one thing to look keys up in.

The active segment is the one being written; all others are sealed and never change again. A log is made
at its full length without any blocks, so that it is mapped once while it fills, and cut to what was
written when it is sealed.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator
from mmap import mmap
from typing import Any

from stratakv import index, record
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, storage_error
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Entry
from stratakv.record import Record


class Segment:
    """One open segment. `end` is where the log ends: its size once sealed, its capacity while active."""

    __slots__ = (
        "_order",
        "arrays",
        "bloom",
        "end",
        "entry",
        "fd",
        "files",
        "header",
        "log",
        "number",
        "path",
        "slot_count",
        "slots",
        "view",
        "word_count",
    )

    def __init__(
        self, directory: Directory, fd: int, header: LogHeader, end: int, entry: Entry | None
    ) -> None:
        self.files = directory.files
        self.fd = fd
        self.number = header.number
        self.path = directory.log_path(header.number)
        self.header = header
        self.end = end
        self.entry = entry  # None while active
        self.log: mmap = self.files.map(fd, end)
        self.view = memoryview(self.log)
        self.arrays: index.Arrays
        self.slots: memoryview
        self.slot_count: int
        self.bloom: memoryview
        self.word_count: int
        self._order: array[int] | None = None

    def __del__(self) -> None:
        # The maps go when the last view of them does; a reader may hold one longer than the segment.
        self.files.close(self.fd)

    def attach_index(self, buffer: Any, shape: index.Shape) -> None:
        """Lay the index in `buffer` over the log; lookups then read the arrays without a further step."""
        self.arrays = index.arrays(buffer, shape)
        self.slots, self.slot_count = self.arrays.slots, shape.slots
        self.bloom, self.word_count = self.arrays.bloom, shape.words

    def record_at(self, offset: int) -> Record | None:
        """Return the sound record at `offset`, or None."""
        return record.decode(self.log, self.view, offset, self.end)

    def value(self, found: Record) -> bytes:
        return self.log[found.value_offset : found.end]

    def records(self, end: int | None = None) -> Iterator[Record]:
        """Yield the records from the start of the log to `end`; CorruptionError where the chain breaks."""
        limit = self.end if end is None else end
        reached = HEADER_BYTES
        for found in record.walk(self.log, self.view, reached, self.header.first_link, limit):
            reached = found.end
            yield found
        if reached != limit:
            raise CorruptionError(self.path, reached, "the chain of records breaks here")

    def latest(self, end: int) -> dict[bytes, int]:
        """Return the offset of each key's last record among those below the offset `end`."""
        return {found.key: found.offset for found in self.records(end) if found.kind != record.END}

    def all_begin_with(self, prefix: bytes, end: int) -> bool:
        """Whether every key ever written below the offset `end` begins with `prefix`."""
        if self.entry is not None and self.entry.kind == "main":
            order = self.arrays.order
            *_, last = self._walk_from(self.sound(order[-1]).key)
            return self.sound(order[0]).key.startswith(prefix) and last.key.startswith(prefix)
        return all(found.key.startswith(prefix) for found in self.records(end))

    def order(self) -> array[int]:
        """Return the offsets of each key's last record in key order; for sealed young segments."""
        if self._order is None:
            offsets = (offset for _, offset in sorted(self.latest(self.end).items()))
            self._order = array("Q", offsets)
        return self._order

    def in_order(self, start: bytes) -> Iterator[Record]:
        """Yield each key's last record from key `start` on, in key order; for sealed segments."""
        if self.entry is not None and self.entry.kind == "main":
            return self._walk_from(start)
        return self._follow(start, self.order())

    def _follow(self, start: bytes, order: array[int]) -> Iterator[Record]:
        for place in range(self._bisect(start, order), len(order)):
            yield self.sound(order[place])

    def _walk_from(self, start: bytes) -> Iterator[Record]:
        """Walk a log in key order, from the last key of the sparse order that is not beyond `start`."""
        order = self.arrays.order
        offset = order[max(0, self._bisect(start, order) - 1)]
        while (found := self.sound(offset)).kind != record.END:
            if found.key >= start:
                yield found
            offset = found.end

    def _bisect(self, start: bytes, order: Any) -> int:
        """Return the first place in `order` whose key is not below `start`."""
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.sound(order[middle]).key < start:
                low = middle + 1
            else:
                high = middle
        return low

    def sound(self, offset: int) -> Record:
        """Return the record at `offset`; raises CorruptionError where it is damaged."""
        found = self.record_at(offset)
        if found is None:
            raise CorruptionError(self.path, offset, "the record's checksum does not hold")
        return found


# -- making and opening --------------------------------------------------------------------------------


def create_log(directory: Directory, header: LogHeader) -> int:
    """Make a new log that holds only its header; return its descriptor."""
    path = directory.log_path(header.number)
    try:
        directory.files.unlink(path)  # what a process left behind that died while making it
        fd = directory.open(path, write=True, create=True)
    except OSError as cause:
        raise storage_error(path, cause) from cause
    try:
        directory.files.write_all(fd, header.pack(), 0)
    except OSError as cause:
        directory.files.close(fd)
        raise storage_error(path, cause) from cause
    return fd


def create_active(directory: Directory, header: LogHeader, capacity: int, keys: int) -> Segment:
    """Make the log and the index of a new active segment for `capacity` bytes and `keys` keys."""
    files = directory.files
    fd = create_log(directory, header)
    path = directory.index_path(header.number)
    try:
        files.truncate(fd, capacity)
    except OSError as cause:
        files.close(fd)
        raise storage_error(directory.log_path(header.number), cause) from cause
    segment = Segment(directory, fd, header, capacity, None)
    try:
        shape = index.Shape.young(keys)
        files.unlink(path)
        index_fd = directory.open(path, write=True, create=True)
        try:
            files.allocate(index_fd, shape.size)
            segment.attach_index(files.map(index_fd, shape.size, write=True), shape)
        finally:
            files.close(index_fd)
    except OSError as cause:
        raise storage_error(path, cause) from cause
    index.write_header(segment.arrays, header.number)
    return segment


def open_log(directory: Directory, number: int, entry: Entry | None, *, write: bool) -> Segment:
    """Open a log without its index; raises CorruptionError, and FileNotFoundError where it has gone."""
    path = directory.log_path(number)
    fd = directory.open(path, write=write)
    try:
        size = directory.files.size(fd)
        end = size if entry is None else entry.size
        header = LogHeader.unpack(directory.files.pread(fd, HEADER_BYTES, 0))
        if header is None or header.number != number:
            raise CorruptionError(path, 0, "the header of the log is not sound")
        if size < end or end < HEADER_BYTES:
            raise CorruptionError(path, size, f"the log is cut short: {end} bytes were written")
    except BaseException:
        directory.files.close(fd)
        raise
    try:
        return Segment(directory, fd, header, end, entry)
    except ValueError as shorter:
        # Sealed, and so cut, since we asked for its size: there is a manifest that says so.
        raise FileNotFoundError(errno.ENOENT, "no longer being written", str(path)) from shorter


def map_index(directory: Directory, segment: Segment, *, write: bool) -> bool:
    """Map the segment's index file if there is one of a sensible shape; its checksum is not looked at."""
    files = directory.files
    try:
        fd = directory.open(directory.index_path(segment.number), write=write)
    except FileNotFoundError:
        return False
    try:
        size = files.size(fd)
        if size < index.PAGE:
            return False
        buffer = files.map(fd, size, write=write)
    finally:
        files.close(fd)
    shape = index.read_shape(buffer, size, segment.number)
    if shape is None:
        return False
    segment.attach_index(buffer, shape)
    return True
