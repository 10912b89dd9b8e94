"""What a merge writes: a log in key order and its index, made in one pass."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import replace

from stratakv import index
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.build import build_index, entries
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, reported
from stratakv.index import FINGERPRINT, ORDER_STRIDE, Shape, hash_key
from stratakv.log import LogHeader
from stratakv.lookup import lookup
from stratakv.maintenance.blocks import Block
from stratakv.maintenance.early_end import Take
from stratakv.manifest import Entry
from stratakv.open_file import OpenFile
from stratakv.record import LINK_MASK, PREFIX_BYTES, TOMBSTONE_EXPIRY, pack_prefix
from stratakv.rewrite import LogWriter
from stratakv.segment_files import map_index, open_log

_CHECKED = 16  # one in so many of the keys in the order is looked up before the index is used
_MORE = 9 / 8  # the index is made for so many times the keys that are expected
_ROOMY = 5 / 4  # an index for so many times the keys that came is made again


class Output:
    """A segment in the making. Nothing names it until the manifest does.

    expected, most: how many keys will come, about, and at most.
    """

    def __init__(
        self,
        directory: Directory,
        header: LogHeader,
        expected: int,
        most: int,
        ranges: Iterable[bytes],
        take: Take,
    ) -> None:
        self._directory = directory
        self._take = take
        self._header = header
        self._room = min(most, int(expected * _MORE))  # the keys that the index is made for
        self._most = most
        self._order = array("Q")
        self._warm = False
        self._soonest = self._latest = self._expiring = self._tombstone_bytes = 0
        self.keys = 0
        self._log = LogWriter(directory, header, take)
        try:
            self._log.delete_ranges(ranges)
            self._index_file = self._make_index()
        except BaseException:
            self._log.close()
            raise

    def _make_index(self) -> OpenFile:
        self._shape = Shape.exact(self._room, ORDER_STRIDE)
        files, path = self._directory.files, self._directory.index_path(self._header.number)
        with reported(path):
            files.unlink(path)
            file = self._directory.open(path, write=True, create=True)
            try:
                self._take(file.fileno(), self._shape.size)
                files.allocate_large(file.fileno(), self._shape.size)
                self._index = files.map(file.fileno(), self._shape.size, write=True)
            except BaseException:
                file.let_go()
                raise
        self._arrays = index.arrays(self._index, self._shape)
        return file

    @property
    def size(self) -> int:
        """Bytes of log so far."""
        return self._log.size

    def write(self, block: Block) -> None:
        """Append the records of a block, its keys in order and beyond those before, as they are.

        Written out in one function, with its names local: it runs for each record that a merge moves, and
        calls for each would take it a third longer.
        """
        if self.keys + len(block) > self._room:  # or the table would be full, and the search below endless
            self._make_room(self.keys + len(block))
        frames: list[bytes | memoryview] = []
        places: list[int] = []
        slots, words, hot = self._arrays.slots, self._arrays.bloom, self._arrays.hot
        size, filter_size = len(slots), len(words)
        at = begun = self._log.size
        link = self._log.link
        for key, body, _, checksum, expiry, heat in block:
            if expiry:
                self._note(expiry, PREFIX_BYTES + len(body))
            frames.append(pack_prefix(checksum, link))
            frames.append(body)
            link = checksum & LINK_MASK
            first, second = hash_key(key)
            place = first % size
            while slots[place]:
                place += 1
                if place == size:
                    place = 0
            slots[place] = first & FINGERPRINT | at
            words[first % filter_size] |= PATTERNS[second & PATTERN_MASK]
            if heat:
                hot[place] = heat
                self._warm = True
            places.append(at)
            at += PREFIX_BYTES + len(body)
        self._log.write(frames, at - begun, link)
        self._order.extend(places[-self.keys % ORDER_STRIDE :: ORDER_STRIDE])
        self.keys += len(places)

    def _make_room(self, keys: int) -> None:
        """Make the index anew for twice as many keys, from what the log has by now."""
        path = self._directory.log_path(self._header.number)
        if keys > self._most:
            raise CorruptionError(path, 0, "the merged logs have more keys than the manifest says")
        self._room = min(self._most, 2 * keys)
        before = self._arrays
        self._index_file.let_go()
        self._index_file = self._make_index()
        self._log.flush()
        written = Entry.of(self._header, self._log.size, self.keys, self._log.size)
        segment = open_log(self._directory, self._header.number, written, write=True)
        index.fill(self._arrays, entries(segment))
        if self._warm:
            index.copy_hot(before, self._arrays, entries(segment))

    def _note(self, expiry: int, size: int) -> None:
        self._expiring += 1
        self._latest = max(self._latest, expiry)
        if expiry == TOMBSTONE_EXPIRY:
            self._tombstone_bytes += size
        else:
            self._soonest = min(self._soonest or expiry, expiry)

    def finish(self) -> Entry:
        """Make log and index durable, check what is on disk, and return the entry for the manifest."""
        self._log.end()
        self._log.finish()
        entry = replace(
            Entry.of(self._header, self._log.size, self.keys, self._log.size),
            tombstones=self._tombstone_bytes,
            soonest=self._soonest,
            latest=self._latest if self._expiring == self.keys else 0,
        )
        self._finish_index(entry)
        _check(self._directory, entry)
        return entry

    def _finish_index(self, entry: Entry) -> None:
        if self.keys * _ROOMY < self._room:
            segment = open_log(self._directory, entry.number, entry, write=True)
            hot = self._arrays if self._warm else None
            build_index(self._directory, segment, ordered=True, hot=hot, elected=True, take=self._take)
            return
        shape = replace(self._shape, order=len(self._order))
        arrays = index.arrays(self._index, shape)
        arrays.order[:] = memoryview(self._order)
        index.write_header(arrays, entry.number)
        index.seal(arrays, self.keys, entry.size)
        files = self._directory.files
        with reported(self._directory.index_path(entry.number)):
            files.truncate(self._index_file.fileno(), shape.size)
            files.fdatasync(self._index_file.fileno())

    def close(self) -> None:
        self._log.close()
        self._index_file.let_go()


def _check(directory: Directory, entry: Entry) -> None:
    """Raise CorruptionError unless what was written is a log and an index that leads to its records."""
    segment = open_log(directory, entry.number, entry, write=True)
    path = directory.index_path(entry.number)
    if not map_index(directory, segment, write=True) or not index.is_sound(segment.arrays, entry.size):
        raise CorruptionError(path, 0, "the index that was just written is not sound")
    for offset in segment.arrays.order[::_CHECKED]:
        key = segment.sound(offset).key
        found = lookup(segment, key, hash_key(key)[0])
        if found is None or found.offset != offset:
            raise CorruptionError(path, 0, f"the index that was just written misses the record at {offset}")
