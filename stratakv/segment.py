"""A segment: a log and its index, mapped, as one thing to look keys up in.

The active segment is the one being written; all others are sealed and never change again. A log is made
at its full length without any blocks, so that it is mapped once while it fills, and cut to what was
written when it is sealed.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from mmap import mmap
from typing import Any

from stratakv import index, record
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.directory import Directory
from stratakv.errors import CorruptionError
from stratakv.log import HEADER_BYTES, OFFSET_MASK, LogHeader
from stratakv.manifest import Entry
from stratakv.open_file import OpenFile
from stratakv.record import Record, Sliceable

_WINDOWS = (2**12, 2**16, 2**20)  # bytes before the end of a log in which its last record is looked for


def sliceable(log: mmap) -> Sliceable:
    """Return what any number of threads may take slices of: a byte view of a log, which copies nothing.

    Without the GIL it is the log itself, whose slices are copies. A memoryview counts its slices without a
    lock, and is closed while it is in use (https://github.com/python/cpython/issues/155606).
    """
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return memoryview(log) if has_gil else log


class Segment:
    """One open segment.

    It is made in three steps: the constructor maps the log, `attach_index` lays an index over it, and
    `read_ranges` reads the range tombstones. Before the second step there are no arrays, so no key can be
    looked up. Before the third, `ranges` is empty, and `start` and `chain` are those of a log without range
    tombstones, whatever its header says.

    end: where the log ends, which is its size once sealed and its capacity while active.
    ranges: the prefixes of its range tombstones, once they have been read.
    start: where the other records begin. chain: the link of the first of them.
    mapped_writes: whether the log may be written through its map, where it has blocks.
    inode, index_inode: of the files that are mapped; 0 for an index in memory.
    lookup_bytes: how long a record is on average, where a lookup brings in nothing but its own; 0 where the
    kernel reads ahead.
    """

    __slots__ = (
        "_file",
        "arrays",
        "bloom",
        "chain",
        "end",
        "entry",
        "fd",
        "files",
        "header",
        "hot",
        "index_inode",
        "inode",
        "log",
        "lookup_bytes",
        "mapped_writes",
        "number",
        "order_made",
        "path",
        "ranges",
        "slot_count",
        "slots",
        "start",
        "view",
        "word_count",
    )

    def __init__(
        self,
        directory: Directory,
        file: OpenFile,
        header: LogHeader,
        end: int,
        entry: Entry | None,
        *,
        mapped_writes: bool = False,
    ) -> None:
        self.files = directory.files
        self._file = file
        self.fd = file.fileno()
        self.number = header.number
        self.path = directory.log_path(header.number)
        self.header = header
        self.end = end
        self.entry = entry  # None while active
        self.inode = self.files.inode(self.fd)
        self.index_inode = 0
        self.mapped_writes = mapped_writes
        self.lookup_bytes = 0
        self.log: mmap = self.files.map(self.fd, end, write=mapped_writes)
        self.view = sliceable(self.log)
        self.arrays: index.Arrays
        self.slots: memoryview
        self.slot_count: int
        self.bloom: memoryview
        self.word_count: int
        self.hot: memoryview
        self.order_made: array[int] | None = None  # see `key_order`
        self.ranges: tuple[bytes, ...] = ()
        self.start, self.chain = HEADER_BYTES, header.first_link

    @property
    def sealed_entry(self) -> Entry:
        """What the manifest says of this segment, which must be a sealed one."""
        assert self.entry is not None
        return self.entry

    def __del__(self) -> None:
        # The maps go when the last view of them does; a reader may hold one longer than the segment.
        with suppress(AttributeError):  # of one that a signal ended as it was being made
            self._file.let_go()

    def attach_index(self, buffer: Any, shape: index.Shape, inode: int = 0) -> None:
        """Lay the index in `buffer` over the log; lookups then read the arrays without a further step."""
        self.index_inode = inode
        self.arrays = index.arrays(buffer, shape)
        self.slots, self.slot_count = self.arrays.slots, shape.slots
        self.bloom, self.word_count = self.arrays.bloom, shape.words
        self.hot = self.arrays.hot

    def read_ranges(self) -> None:
        """Read the range tombstones; CorruptionError for a damaged one, which would uncover what it hides."""
        ranges = []
        for _ in range(self.header.ranges):
            found = self.sound(self.start)
            if found.kind != record.RANGE:
                raise CorruptionError(self.path, self.start, "a range tombstone is damaged")
            ranges.append(found.key)
            self.start, self.chain = found.end, found.checksum & record.LINK_MASK
        self.ranges = tuple(ranges)

    def expect_lookups(self, record_bytes: int) -> None:
        """Let a lookup bring in its own record only, if the log is not in memory."""
        if not self.lookup_bytes:
            self.lookup_bytes = record_bytes
            self.files.expect_lookups(self.log)

    @contextmanager
    def walked(self) -> Iterator[None]:
        """While all of its log is read, from front to back: the kernel reads ahead."""
        if self.lookup_bytes:
            self.files.expect_a_walk(self.log)
        try:
            yield
        finally:
            if self.lookup_bytes:
                self.files.expect_lookups(self.log)

    def bring_in(self, first: int) -> bool:
        """Ask the disk for the record of a key with this hash; return whether there may be one."""
        offset = next(self._candidates(first), None)
        if offset is not None and self.lookup_bytes:
            self.files.bring_in(self.log, offset, offset + self.lookup_bytes)
        return offset is not None

    def may_have(self, first: int, second: int) -> bool:
        """Whether the Bloom filter lets the key with this hash pass."""
        pattern = PATTERNS[second & PATTERN_MASK]
        return self.bloom[first % self.word_count] & pattern == pattern

    def leads_to(self, key: bytes, offset: int) -> bool:
        """Whether the slots lead from `key` to the record at `offset`, or to a later one."""
        first, _ = index.hash_key(key)
        return any(found >= offset for found in self._candidates(first))

    def _candidates(self, first: int) -> Iterator[int]:
        """Yield where the slots lead from a key with this hash; also of a damaged table without an end."""
        place, tag = first % self.slot_count, first & index.FINGERPRINT
        for _ in range(self.slot_count):
            slot = self.slots[place]
            if not slot:
                return
            if slot & index.FINGERPRINT == tag:
                yield slot & OFFSET_MASK
            place = (place + 1) % self.slot_count

    def record_at(self, offset: int) -> Record | None:
        """Return the sound record at `offset`, or None."""
        return record.decode(self.log, self.view, offset, self.end)

    def value(self, found: Record) -> bytes:
        return self.log[found.value_offset : found.end]

    def records(self, end: int | None = None) -> Iterator[Record]:
        """Yield the records from the start of the log to `end`; CorruptionError where the chain breaks."""
        limit = self.end if end is None else end
        reached = HEADER_BYTES
        with self.walked():
            for found in record.walk(self.log, self.view, reached, self.header.first_link, limit):
                reached = found.end
                yield found
        if reached != limit:
            raise CorruptionError(self.path, reached, "the chain of records breaks here")

    def last_records(self, end: int) -> list[Record]:
        """Return what may be the record that ends at `end`: its value may hold what looks like one, too.

        Returns none for a record that is longer than the largest of the windows.
        """
        for window in _WINDOWS:
            tail = record.search(self.log, self.view, max(self.start, end - window), end)
            if found := [each for each in tail if each.end == end]:
                return found
        return []

    def begun(self) -> int:
        """Return where the records end that the log began with; they stay, also if it is cut meanwhile."""
        end = self.start
        for found in islice(record.walk(self.log, self.view, end, self.chain, self.end), self.header.taken):
            end = found.end
        return end

    def added(self) -> tuple[int, int]:
        """Return how many records more there are than the log began with, and where the last of all ends.

        As far as they are sound and linked; less than 0 where that is not even all it began with.
        """
        count, end = -self.header.ranges - self.header.taken, HEADER_BYTES
        for found in record.walk(self.log, self.view, end, self.header.first_link, self.end):
            count, end = count + 1, found.end
        return count, end

    def filled(self) -> tuple[int, int, int]:
        """Return where the last whole commit ends, what links to it, and how many keys there are up to it.

        As far as the records are sound and linked. Only while nobody can seal the log: it is cut then, and
        what is mapped behind its end is no memory any more.
        """
        end, link, used, keys = self.start, self.chain, 0, set()
        for found in record.walk(self.log, self.view, end, link, self.end):
            keys.add(found.key)
            if found.commit:
                end, link, used = found.end, found.checksum & record.LINK_MASK, len(keys)
        return end, link, used

    def latest(self, end: int) -> dict[bytes, int]:
        """Return the offset of each key's last record among those below the offset `end`."""
        log, view = self.log, self.view
        offset, link = HEADER_BYTES, self.header.first_link
        latest = {}
        with self.walked():
            # Written out: decoding each to a Record takes twice as long, for all that is ever written.
            while offset + record.HEADER_BYTES <= end:
                checksum, found_link, value_bytes, key_bytes, kind, _, _ = record.unpack_header(view, offset)
                start = offset + record.HEADER_BYTES
                stop = start + key_bytes + value_bytes
                if (
                    found_link != link
                    or stop > end
                    or record.checksum_of(view[offset + record.PREFIX_BYTES : stop]) != checksum
                ):
                    break
                if kind & ~record.COMMIT <= record.TOMBSTONE:
                    latest[log[start : start + key_bytes]] = offset
                offset, link = stop, checksum & record.LINK_MASK
        if offset != end:
            raise CorruptionError(self.path, offset, "the chain of records breaks here")
        return latest

    def sound(self, offset: int) -> Record:
        """Return the record at `offset`; raises CorruptionError where it is damaged."""
        found = self.record_at(offset)
        if found is None:
            raise CorruptionError(self.path, offset, "the record's checksum does not hold")
        return found
