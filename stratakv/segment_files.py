"""The files of a segment: making them, and opening them as a `Segment`."""

from __future__ import annotations

import errno

from stratakv import index
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, reported
from stratakv.interrupted import unless_refused
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Entry
from stratakv.open_file import OpenFile
from stratakv.segment import Segment

# An index may take so many bytes beyond twice its log: it may have been made for more keys than then came.
_SPARE_INDEX_BYTES = 4 * 2**20


def create_log(directory: Directory, header: LogHeader, beginning: bytes = b"") -> OpenFile:
    """Make a new log of its header and the records it begins with, durable if there are any."""
    path = directory.log_path(header.number)
    with reported(path):
        directory.files.unlink(path)  # what a process left behind that died while making it
        file = directory.open(path, write=True, create=True)
        try:
            directory.files.write_all(file.fileno(), header.pack() + beginning, 0)
            if beginning:
                directory.files.fdatasync(file.fileno())
        except OSError:
            file.let_go()
            with unless_refused():  # a full disk must not fill up with attempts
                directory.files.unlink(path)
            raise
    return file


def create_active(
    directory: Directory, header: LogHeader, capacity: int, keys: int, beginning: bytes = b""
) -> Segment:
    """Make the log and the index of a new active segment for `capacity` bytes and `keys` keys.

    beginning: what it begins with, the range tombstones that `header` tells of first.
    """
    files = directory.files
    file = create_log(directory, header, beginning)
    path = directory.index_path(header.number)
    with reported(directory.log_path(header.number)):
        try:
            files.truncate(file.fileno(), capacity)
        except OSError:
            file.let_go()
            raise
    with reported(path):
        segment = Segment(directory, file, header, capacity, None, mapped_writes=directory.mapped_writes)
        segment.read_ranges()
        shape = index.Shape.young(keys)
        files.unlink(path)
        with directory.open(path, write=True, create=True) as index_file:
            fd = index_file.fileno()
            files.allocate(fd, shape.size)
            segment.attach_index(files.map(fd, shape.size, write=True), shape, files.inode(fd))
    index.write_header(segment.arrays, header.number)
    index.fill(segment.arrays, segment.latest(HEADER_BYTES + len(beginning)).items())
    return segment


def open_log(
    directory: Directory,
    number: int,
    entry: Entry | None = None,
    *,
    write: bool,
    mapped_writes: bool = False,
) -> Segment:
    """Open a log without its index; raises CorruptionError, and FileNotFoundError where it has gone.

    entry: what the manifest says of the log, if it is sealed; without one the log ends where its file does.
    mapped_writes: it is the one being written, and may be written through its map.
    """
    path = directory.log_path(number)
    file = directory.open(path, write=write)
    try:
        size = directory.files.size(file.fileno())
        end = size if entry is None else entry.size
        header = LogHeader.unpack(directory.files.pread(file.fileno(), HEADER_BYTES, 0))
        if header is None or header.number != number:
            raise CorruptionError(path, 0, "the header of the log is not sound")
        if size < end or end < HEADER_BYTES:
            raise CorruptionError(path, size, f"the log is cut short: {end} bytes were written")
    except BaseException:
        file.let_go()
        raise
    try:
        return Segment(directory, file, header, end, entry, mapped_writes=mapped_writes)
    except ValueError as shorter:
        # Sealed, and so cut, since we asked for its size: there is a manifest that says so.
        raise FileNotFoundError(errno.ENOENT, "no longer being written", str(path)) from shorter


def map_index(directory: Directory, segment: Segment, *, write: bool) -> bool:
    """Map the segment's index file if there is one of a sensible shape; its checksum is not looked at.

    Raises FileNotFoundError where the segment has left the store since its log was opened.
    """
    files = directory.files
    try:
        file = directory.open(directory.index_path(segment.number), write=write)
    except FileNotFoundError:
        if files.is_removed(segment.fd):  # the log goes first, see `Directory.remove`
            raise
        return False
    with file:
        size = files.size(file.fileno())
        if not index.HEADER_BYTES <= size <= _SPARE_INDEX_BYTES + 2 * segment.end:
            return False
        buffer, inode = files.map(file.fileno(), size, write=write), files.inode(file.fileno())
    shape = index.read_shape(buffer, size, segment.number)
    if shape is None:
        return False
    segment.attach_index(buffer, shape, inode)
    return True
