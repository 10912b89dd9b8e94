"""The segments as one process sees them: one frozen view, made anew whenever the manifest has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from weakref import WeakMethod

from stratakv import index, manifest
from stratakv.build import build_index
from stratakv.control import W_GENERATION, W_INDEXED, Control
from stratakv.directory import CONTROL_NAME, GHOSTS_NAME, MANIFEST_NAME, SIEVE_NAME, Directory
from stratakv.errors import CorruptionError, StorageError, removed_error, reported
from stratakv.forks import notice
from stratakv.ghosts import Ghosts
from stratakv.interrupted import check_refused, new_turn, under
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.manifest import Entry, Manifest
from stratakv.opening import map_ghosts, map_sieve, open_sealed
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log
from stratakv.sieve import Sieve
from stratakv.view import FORKED, View

logger = logging.getLogger("stratakv")

_TRIES = 100
# A part of memory. Where the logs take more, reading ahead evicts pages that are still wanted; where they
# take less, it brings all of them into memory sooner.
_CACHED = 0.5
# Average length of a record. Up to here a lookup in a log that is not in memory is no slower if only the
# record is read, and not the 128 KiB and more around it (docs/decisions/2026-11-26-cold-reads.md).
_ALONE_BYTES = 16 * 2**10


class Views:
    """The views of one process: the one of now, and how it comes about.

    write: whether this process may write to the store's files. reattach: called by a forked child before it
    uses anything.
    """

    def __init__(
        self,
        directory: Directory,
        control: Control,
        *,
        write: bool,
        reattach: WeakMethod[Callable[[], None]],
    ) -> None:
        self.directory = directory
        self.files = directory.files
        self.control = control
        self._write = write
        self._reattach = reattach
        self._memory = self.files.memory()
        self._page = directory.path / CONTROL_NAME
        self._refreshing = new_turn()  # a signal handler may read in the midst of it
        self._ghosts: tuple[int, Ghosts] | None = None  # inode, table
        self._sieve: tuple[int, int, Sieve | None] | None = None  # inode, age; None if it is not sound
        self.view = self._load(None)

    def current(self) -> View:
        """Return the view of now."""
        view = self.view
        return view if self.control.words[W_GENERATION] == view.generation else self.refresh()

    def in_place(self) -> bool:
        """Whether the store's files are still those that are open here, and not removed or replaced."""
        try:
            found = self.files.stat(self._page)
            return (found.st_dev, found.st_ino) == self.control.identity
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as refusal:
            check_refused(refusal)
            return True  # as far as can be told

    def check_in_place(self) -> None:
        """Raise RemovedError unless `in_place`.

        IMPORTANT: before anything is done by the names of files. What has these names may be another store,
        made in place of the one that is open here, and would be damaged.
        """
        if not self.in_place():
            raise removed_error(self.directory.path)

    def forked(self) -> None:
        """In a child: whatever is used first brings a new view, and attaches the child for itself."""
        self._refreshing = new_turn()
        self.view = self.view.forked()

    def refresh(self) -> View:
        """Make a new view from the manifest, with the segments that are open already."""
        notice()
        return under(self._refreshing, self._refresh)

    def _refresh(self) -> View:
        with reported(self.directory.path):
            self.check_in_place()
            if self.view.generation == FORKED:
                reattach = self._reattach()
                assert reattach  # the store lives as long as any of its parts is used
                reattach()
            elif self.view.generation == self.control.words[W_GENERATION]:
                return self.view  # pragma: no cover: another thread was faster, by microseconds
            self.view = self._load(self.view)
            return self.view

    def _load(self, before: View | None) -> View:
        """Make a view from the manifest, and again where a compaction has removed a file meanwhile."""
        for _ in range(_TRIES):
            try:
                found = manifest.load(self.directory)
                if before and found.generation < before.manifest.generation:
                    path = self.directory.path / MANIFEST_NAME
                    raise CorruptionError(path, 0, "the manifest is older than the one before it")
                return self._open(found, before)
            except FileNotFoundError as vanished:
                missing = vanished.filename
        raise CorruptionError(missing, 0, "the manifest names the file, and it is missing")

    def _open(self, found: Manifest, before: View | None) -> View:
        known = {segment.number: segment for segment in before.segments()} if before else {}
        active = known.get(found.active) or self.open_active(found.active)
        sealed = []
        for entry in found.segments:
            segment = known.get(entry.number)
            if segment is None or segment.entry is None or self._is_replaced(segment):
                segment = open_sealed(self.directory, entry, write=self._write)
                segment.read_ranges()
            segment.entry = entry  # what is known of a log on disk may be more by now
            sealed.append(segment)
        self._expect_lookups(active, sealed)
        marks = bool(found.max_bytes) and self._write
        ghosts = self._open_ghosts() if marks else None
        sieve = self._open_sieve()
        return View.of(found, active, tuple(sealed), marks=marks, ghosts=ghosts, sieve=sieve)

    def _expect_lookups(self, active: Segment, sealed: Sequence[Segment]) -> None:
        """Let lookups bring in their own records only, where these are short and not all in memory."""
        entries = [segment.entry for segment in sealed if segment.entry]
        if entries and sum(entry.size for entry in entries) > _CACHED * self._memory:
            # What is being written will be like what was written last.
            for segment, like in zip((active, *sealed), (entries[0], *entries), strict=True):
                record_bytes = like.size // max(1, like.keys)
                if record_bytes <= _ALONE_BYTES:
                    segment.expect_lookups(record_bytes)

    def heal(self, segment: Segment) -> bool:
        """Make the index of a sealed segment anew if it is damaged, and map it; return whether that was so.

        Other processes map it when they find it damaged themselves, or with the next change of structure.
        """
        entry = segment.entry
        if entry is None or not self._write or index.is_sound(segment.arrays, entry.size):
            return False
        notice()
        self.current()  # a child that has just noticed attaches first
        return under(self._refreshing, self._make_index, segment, entry)

    def _make_index(self, segment: Segment, entry: Entry) -> bool:
        """Make the index of a sealed segment anew and map it; return False where it cannot be made."""
        if segment not in self.view.sealed:
            return True  # pragma: no cover: another thread was faster, by microseconds
        try:
            fresh = open_log(self.directory, segment.number, entry, write=True)
            build_index(self.directory, fresh, ordered=entry.finished)
            self.view = self._load(self.view)
        except (CorruptionError, StorageError, FileNotFoundError):
            logger.exception("%s: its index is damaged and could not be made anew", segment.path)
            return False
        logger.error("%s: its index was damaged, and has been made anew", segment.path)
        return True

    def _is_replaced(self, segment: Segment) -> bool:
        """Whether the index has been made anew since it was mapped: finished, or mended."""
        if not segment.index_inode:
            return False
        try:
            found = self.files.stat(self.directory.index_path(segment.number))
        except FileNotFoundError:
            return True
        return found.st_ino != segment.index_inode

    def open_active(self, number: int) -> Segment:
        """Open the segment that is being written; raises CorruptionError where its index does not fit it."""
        mapped_writes = self._write and self.directory.mapped_writes
        segment = open_log(self.directory, number, write=self._write, mapped_writes=mapped_writes)
        if not map_index(self.directory, segment, write=self._write):
            path = self.directory.index_path(number)
            raise CorruptionError(path, 0, "the index of the segment being written is missing or damaged")
        segment.read_ranges()
        self._check_active(segment)
        return segment

    def _check_active(self, segment: Segment) -> None:
        """Raise CorruptionError for an index that does not lead to the last record: it is an older copy."""
        reached = self.control.words[W_INDEXED]
        if reached >> OFFSET_BITS != segment.number or reached & OFFSET_MASK > segment.end:
            return
        last = segment.last_records(reached & OFFSET_MASK)
        if last and not any(segment.leads_to(found.key, found.offset) for found in last):
            path = self.directory.index_path(segment.number)
            raise CorruptionError(path, 0, "this is not the index that is being written to")

    def _open_ghosts(self) -> Ghosts | None:
        """Map the ghosts there are now; they are made anew when the store has outgrown them."""
        path = self.directory.path / GHOSTS_NAME
        try:
            inode = self.files.stat(path).st_ino
            if self._ghosts is None or self._ghosts[0] != inode:
                found = map_ghosts(self.directory)
                self._ghosts = (inode, found) if found else None
        except FileNotFoundError:
            self._ghosts = None
        return self._ghosts[1] if self._ghosts else None

    def _open_sieve(self) -> Sieve | None:
        """Map the sieve there is now, if it is sound. It is made anew when segments have come since."""
        try:
            found = self.files.stat(self.directory.path / SIEVE_NAME)
            # The time as well: one that is not sound is not kept open, so the next may get its inode.
            which = found.st_ino, found.st_mtime_ns
            if self._sieve is None or self._sieve[:2] != which:
                self._sieve = *which, map_sieve(self.directory)
        except FileNotFoundError:
            self._sieve = None
        return self._sieve[2] if self._sieve else None
