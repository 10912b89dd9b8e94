"""Eviction: what of a retired segment moves on, and what is forgotten.

A record moves when it was read and is still its key's current version. One that came into its young segment
as a ghost counts as read. A young segment's reads are forgotten on the way into the main segments; a main
segment's are counted down by one. Keys that go from a young segment become ghosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stratakv import ghosts
from stratakv.directory import GHOSTS_NAME, Directory
from stratakv.errors import CorruptionError, storage_error
from stratakv.ghosts import Ghosts
from stratakv.index import hash_key
from stratakv.maintenance.blocks import Block, in_key_order, range_prefixes
from stratakv.maintenance.merge import Job, heat_of
from stratakv.opening import map_ghosts
from stratakv.reader import lookup
from stratakv.record import TOMBSTONE_EXPIRY
from stratakv.segment import Segment
from stratakv.view import View


def retire_main(view: View, inputs: Sequence[Segment]) -> Job:
    """Return the job that retires the oldest segment, the last of `inputs`.

    What moves becomes the newest of the main segments, so that it is a whole round until it is asked again.
    The floor tells whoever finds the logs alone that the old place is void.
    """
    oldest = inputs[-1]
    between = [s for s in view.sealed if s.entry and s.entry.kind == "main" and s not in inputs]
    floor = oldest.header.newest + 1
    joined = inputs[:-1]
    if joined:
        lowest, highest = joined[-1].header.oldest, joined[0].header.newest
    else:
        lowest = highest = max(s.header.newest for s in (*between, oldest)) + 1
    # Nothing is older than what is retired, so its own range tombstones hide nothing.
    return Job(inputs, between, range_prefixes(joined), "main", lowest, highest, floor)


class Eviction:
    """One retirement. keys: how many were not moved on."""

    def __init__(self, view: View, table: Ghosts, now: int) -> None:
        self._view = view
        self._ghosts = table
        self._now = now
        self.keys = 0

    def of_young(self, segment: Segment) -> Iterator[Block]:
        """Yield what moves, and as tombstones what may have to hide an older version."""
        for block in in_key_order(segment):
            moved = []
            for item in block:
                if heat_of(segment, item) and self._is_wanted(segment, item[0], item[5]):
                    moved.append((*item[:6], 0))
                else:
                    self.keys += 1
                    self._ghosts.add(hash_key(item[0])[0])
                    moved.append((*item[:5], TOMBSTONE_EXPIRY, 0))
            yield moved

    def of_main(self, segment: Segment) -> Iterator[Block]:
        """Yield what moves."""
        for block in in_key_order(segment):
            moved = []
            for item in block:
                heat = heat_of(segment, item)
                if heat and self._is_wanted(segment, item[0], item[5]):
                    moved.append((*item[:6], heat - 1))
                else:
                    self.keys += 1
            if moved:
                yield moved

    def _is_wanted(self, segment: Segment, key: bytes, expiry: int) -> bool:
        """Whether this is the live and current version of the key."""
        if (expiry and expiry <= self._now) or self._view.hides(segment, key):
            return False
        return is_current(self._view.segments(), segment, key)


def is_current(segments: Iterable[Segment], segment: Segment, key: bytes) -> bool:
    """Whether none of `segments`, newest first, that is newer than `segment` has a record of `key`."""
    first, second = hash_key(key)
    for newer in segments:
        if newer is segment:
            return True
        if newer.may_have(first, second):
            try:
                if lookup(newer, key, first):
                    return False
            except CorruptionError:
                return False  # it may be this key's, and then hides what we have
    raise AssertionError("a segment of another view")


def current(view: View, segment: Segment, blocks: Iterator[Block]) -> Iterator[Block]:
    """Leave out of the blocks of a segment what newer sealed segments hide.

    What the active one hides is left for a later time: when that is finished, it is counted as dead where it
    is found, and must not be looked for below.
    """
    for block in blocks:
        yield [item for item in block if is_current(view.sealed, segment, item[0])]


def ghosts_for(view: View, directory: Directory) -> Ghosts:
    """Return the table of ghosts, made anew where there is none or the store has outgrown it."""
    keys = sum(segment.entry.keys for segment in view.sealed if segment.entry)
    entries = ghosts.entries_for(keys)
    table = view.ghosts
    if table is None or table.count < entries:
        table = _make(directory, entries)
    table.set_memory(keys)
    return table


def _make(directory: Directory, entries: int) -> Ghosts:
    files, path = directory.files, directory.path / GHOSTS_NAME
    temporary = path.with_suffix(".tmp")
    try:
        files.unlink(temporary)
        fd = directory.open(temporary, write=True, create=True)
        try:
            size = ghosts.size_of(entries)
            files.allocate(fd, size)
            Ghosts(files.map(fd, size, write=True)).start()
        finally:
            files.close(fd)
        files.rename(temporary, path)
    except OSError as cause:
        raise storage_error(path, cause) from cause
    table = map_ghosts(directory)
    assert table is not None  # it has just been made
    return table
