"""The structure of the store, how it changes, and the views made from it.

Every change happens under the writer lock: the new files are durable first, then the manifest that names
them, then the words in CONTROL, and last of all the generation, at which every process takes a new view.
Files leave the disk only after a manifest without them is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from weakref import WeakMethod

from stratakv import index, manifest
from stratakv.build import build_index
from stratakv.control import (
    OFFSET_MASK,
    POSITION_BITS,
    W_GENERATION,
    W_LOGGED,
    W_NEXT,
    W_SYNCED,
    W_TIP,
    W_USED,
    Control,
    bytes_below,
)
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, StorageError, storage_error
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Edit, Entry, Manifest
from stratakv.segment import Segment, create_active, map_index, open_log
from stratakv.view import FORKED, View

_TRIES = 100


@dataclass(slots=True)
class Held:
    """Proof that the writer lock is held, with the view of now."""

    view: View


class Structure:
    """The segments as one process sees them, and the ways to change them for all."""

    def __init__(
        self,
        directory: Directory,
        control: Control,
        segment_bytes: int,
        *,
        write: bool,
        reattach: WeakMethod[Callable[[], None]],
    ) -> None:
        self.directory = directory
        self.files = directory.files
        self.control = control
        self._segment_bytes = segment_bytes
        self._write = write
        self._reattach = reattach
        self._refreshing = threading.Lock()
        self.view = self._load(None)

    # -- views -------------------------------------------------------------------------------------------

    def current(self) -> View:
        """Return the view of now."""
        view = self.view
        return view if self.control.words[W_GENERATION] == view.generation else self.refresh()

    def now(self) -> tuple[View, int]:
        """Return the view of now, and the offset at which its active log ends."""
        while True:
            view = self.current()
            tip = self.control.words[W_TIP]
            if tip >> POSITION_BITS <= view.active.number:
                # A tip that is still in the segment before: the active one is so new that it is empty.
                begun = tip >> POSITION_BITS == view.active.number
                return view, tip & OFFSET_MASK if begun else HEADER_BYTES

    def forked(self) -> None:
        """In a child: whatever is used first brings a new view, and attaches the child for itself."""
        self._refreshing = threading.Lock()
        self.view = self.view.forked()

    def refresh(self) -> View:
        """Make a new view from the manifest, with the segments that are open already."""
        with self._refreshing:
            if self.view.generation == FORKED:
                reattach = self._reattach()
                assert reattach  # the store lives as long as any of its parts is used
                reattach()
            elif self.view.generation == self.control.words[W_GENERATION]:
                return self.view  # another thread was faster
            self.view = self._load(self.view)
            return self.view

    def _load(self, before: View | None) -> View:
        """Make a view from the manifest, and again where a compaction has removed a file meanwhile."""
        for _ in range(_TRIES):
            try:
                return self._open(manifest.load(self.directory), before)
            except FileNotFoundError as vanished:
                missing = vanished.filename
        raise CorruptionError(missing, 0, "the manifest names the file, and it is missing")

    def _open(self, found: Manifest, before: View | None) -> View:
        known = {segment.number: segment for segment in before.segments()} if before else {}
        active = known.get(found.active) or self._open_active(found.active)
        sealed = []
        for entry in found.segments:
            segment = known.get(entry.number)
            if segment is None or segment.entry is None:
                segment = open_sealed(self.directory, entry, write=self._write, verify=not self._write)
            segment.entry = entry  # what is known of a log on disk may be more by now
            sealed.append(segment)
        return View.of(found, active, tuple(sealed))

    def _open_active(self, number: int) -> Segment:
        segment = open_log(self.directory, number, None, write=self._write)
        if not map_index(self.directory, segment, write=self._write):
            path = self.directory.index_path(number)
            raise CorruptionError(path, 0, "the index of the segment being written is missing or damaged")
        return segment

    # -- changes, under the writer lock ------------------------------------------------------------------

    def install(self, held: Held, edit: Edit, first_link: int = 0) -> None:
        """Make an edited manifest the truth, for this process and all others.

        first_link: of the log that becomes active, where the edit names one.
        """
        following = manifest.apply(manifest.load(self.directory), edit, self.control.words[W_NEXT])
        manifest.install(self.directory, following)
        self._publish(following, first_link)
        held.view = self.current()

    def take_number(self) -> int:
        """Return the number of a new segment; under the writer lock."""
        words = self.control.words
        number = words[W_NEXT]
        words[W_NEXT] = number + 1
        return number

    def rotate(self, held: Held, size: int = 0, keys: int = 0) -> None:
        """Seal the active segment and start one with room for `size` bytes and `keys` keys."""
        words, old = self.control.words, held.view.active
        tip = words[W_TIP] & OFFSET_MASK
        entry = Entry(
            number=old.number,
            kind="young",
            oldest=old.number,
            newest=old.number,
            size=tip,
            keys=words[W_USED],
            synced=bytes_below(words[W_SYNCED], old.number, tip),
        )
        # Before the manifest calls it sealed; should this end before that, the next rotation does it again.
        index.seal(old.arrays, entry.keys, tip)
        self._start_segment(held, (entry,), (), None, size, keys)
        self._end_log(held.view.sealed[0])

    def _end_log(self, segment: Segment) -> None:
        """Give a sealed log the size it was sealed at: it was made longer than that."""
        try:
            if self.files.size(segment.fd) > segment.end:
                self.files.truncate(segment.fd, segment.end)
        except OSError as cause:
            raise storage_error(segment.path, cause) from cause

    def clear(self, held: Held) -> None:
        """Drop every segment, at once, and take their files off the disk."""
        dropped = held.view.manifest.numbers()
        floor = self.control.words[W_NEXT]
        sealed = [entry.number for entry in held.view.manifest.segments]
        self._start_segment(held, (), sealed, floor, 0, 0)
        for number in dropped:
            self.directory.remove(number)

    def _start_segment(
        self,
        held: Held,
        add: tuple[Entry, ...],
        drop: Collection[int],
        floor: int | None,
        size: int,
        keys: int,
    ) -> None:
        """Create the next active segment and install the manifest in which it is the active one."""
        number = self.take_number()
        manifest_floor = held.view.manifest.floor if floor is None else floor
        header = LogHeader(number, number, number, manifest_floor, self.files.random_u32())
        capacity = max(self._segment_bytes, HEADER_BYTES + size)
        reached = self.control.words[W_SYNCED]
        synced = {e.number: bytes_below(reached, e.number, e.size) for e in held.view.manifest.segments}
        edit = Edit(drop=drop, add=add, active=number, floor=floor, synced=synced)
        try:
            create_active(self.directory, header, capacity, max(young_keys(capacity), keys))
            # IMPORTANT: before the manifest, else a power cut leaves a name without a file
            self.directory.sync()
            written = self.control.words[W_TIP] & OFFSET_MASK
            self.install(held, edit, header.first_link)
            self.control.words[W_LOGGED] += written
        except StorageError:
            if manifest.load(self.directory).active != number:
                self.directory.remove(number)  # a full disk must not fill up with attempts
            raise

    def finish(self) -> None:
        """Finish the change of structure that a process left half done when it died, if it did."""
        found = manifest.load(self.directory)
        active = open_log(self.directory, found.active, None, write=False)
        self._publish(found, active.header.first_link)
        for newest in self.current().sealed[:1]:
            self._end_log(newest)

    def _publish(self, found: Manifest, first_link: int) -> None:
        words = self.control.words
        # The generation first: whoever sees the new tip must have reason to look for its segment.
        words[W_GENERATION] = found.generation
        if words[W_TIP] >> POSITION_BITS != found.active:
            self.control.set_active(found.active, HEADER_BYTES, first_link, 0)


def open_sealed(directory: Directory, entry: Entry, *, write: bool, verify: bool) -> Segment:
    """Open a sealed segment; where its index is missing, or `verify` finds it unsound, it is built anew."""
    segment = open_log(directory, entry.number, entry, write=write)
    mapped = map_index(directory, segment, write=write)
    if not mapped or (verify and not index.is_sound(segment.arrays, entry.size)):
        keys = None if entry.kind == "main" else list(segment.latest(entry.size).items())
        build_index(directory, segment, keys, write=write)
    return segment


def check_indexes(directory: Directory, found: Manifest, *, write: bool) -> None:
    """Verify the index of every sealed segment before anybody trusts it; build those that are not sound."""
    for entry in found.segments:
        try:
            open_sealed(directory, entry, write=write, verify=True)
        except FileNotFoundError:
            path = directory.log_path(entry.number)
            raise CorruptionError(path, 0, "the manifest names the file, and it is missing") from None


def young_keys(capacity: int) -> int:
    """How many keys the index of an active segment of `capacity` bytes is made for."""
    return min(index.YOUNG_KEYS, capacity // 32 + 1)
