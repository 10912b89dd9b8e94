"""The structure of the store, and how writers change it: segments are begun, sealed and dropped.

Each change is an edit of the manifest, installed under the writer lock (`installing`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakMethod

from stratakv import index, manifest
from stratakv.budget import DISK_BLOCK, LARGEST_SHARE, hard_limit, is_oversized, on_disk, segment_capacity
from stratakv.build import build_index
from stratakv.control import (
    W_BUSY,
    W_LOGGED,
    W_NEXT,
    W_POISONED,
    W_SYNCED,
    W_TIP,
    W_USED,
    Control,
    Figure,
    bytes_below,
)
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, DiskFullError, InvalidValueError, StorageError, reported
from stratakv.files import now_ms
from stratakv.handover import NOTHING, Beginning, without
from stratakv.installing import Held, Installer
from stratakv.interrupted import unless_refused
from stratakv.key_order import bounds
from stratakv.log import HEADER_BYTES, OFFSET_MASK, LogHeader, rank_of
from stratakv.manifest import Edit, Entry, Manifest
from stratakv.opening import young_keys
from stratakv.segment import Segment
from stratakv.segment_files import create_active, open_log

_SMALL_INDEX = 4 * DISK_BLOCK  # bytes: one that takes no more is not worth making anew


class Capacity(NamedTuple):
    """What an active segment is made for: the length of its log in bytes, and the keys in its index."""

    log_bytes: int
    keys: int

    def disk_bytes(self) -> int:
        """Return the bytes of disk that such a segment may take."""
        return on_disk(self.log_bytes) + on_disk(index.Shape.young(self.keys).size)


class Structure(Installer):
    """The views of one process, and the ways in which it changes what they show.

    segment_bytes: the size at which a log is sealed, where no budget makes it smaller.
    """

    def __init__(
        self,
        directory: Directory,
        control: Control,
        segment_bytes: int,
        *,
        write: bool,
        reattach: WeakMethod[Callable[[], None]],
    ) -> None:
        super().__init__(directory, control, write=write, reattach=reattach)
        self._segment_bytes = segment_bytes
        self.rotated: Callable[[], None] = lambda: None  # told when a segment was sealed here

    def rotate(self, held: Held, size: int = 0, keys: int = 0) -> None:
        """Seal the active segment and start one with room for `size` bytes and `keys` keys."""
        self._rotate(held, size, keys, NOTHING, keep=self._holds_anything(held))

    def _holds_anything(self, held: Held) -> bool:
        """Whether the active segment holds anything."""
        return bool(self.control.words[W_USED] or held.view.active.ranges)

    def _rotate(self, held: Held, size: int, keys: int, beginning: Beginning, *, keep: bool) -> None:
        """Seal the active segment and start one; drop the oldest ones where the budget has no room for it.

        keep: whether the one that was active until now stays in the store.
        """
        old, sealed = held.view.active, self._seal(held)
        # As many keys again as it takes over: the one before may have been made larger than is usual here.
        capacity = self._capacity_after(sealed, size, max(keys, 2 * len(beginning.records)))
        doomed = self._over_budget(held, sealed, capacity)
        # First: what is made in their place would come on top of them.
        self.drop_oldest(held, [entry for entry in doomed if entry is not sealed])
        is_doomed = sealed in doomed
        if is_doomed and keep:
            self.control.row[Figure.EVICTED] += sealed.keys
        keep &= not is_doomed
        edit = Edit(add=(sealed,) if keep else (), floor=sealed.newest + 1 if is_doomed else 0)
        self._start_segment(held, edit, capacity, beginning)
        self._end_active(held, old, kept=keep)

    def drop_oldest(self, held: Held, doomed: Sequence[Entry]) -> None:
        """Drop the oldest segments, oldest first, and take their files off the disk."""
        if not doomed:
            return
        self._drop(held, doomed)
        for entry in doomed:
            self.control.row[Figure.EVICTED] += entry.keys
            held.say(logging.INFO, "segment %d dropped: the store is over its budget", entry.number)

    def _drop(self, held: Held, doomed: Sequence[Entry]) -> None:
        """Take the oldest segments, oldest first, out of the manifest and off the disk."""
        self.install(held, Edit(drop={entry.number for entry in doomed}, floor=doomed[-1].newest + 1))
        for entry in doomed:
            self.directory.remove(entry.number)

    def _end_active(self, held: Held, old: Segment, *, kept: bool) -> None:
        """Cut the log that was active until now to its end, or remove it where it has left the store."""
        if kept:
            self._end_log(held.view.sealed[0])
            self._trim_index(held.view.sealed[0])
        else:
            self.directory.remove(old.number)
        self.rotated()

    def _trim_index(self, segment: Segment) -> None:
        """Make the index of a segment that ended early anew, in its own size; it was made for a full log.

        Else it would leave so much less of a budget to the other segments.
        """
        if segment.arrays.shape.size <= max(_SMALL_INDEX, segment.end):
            return
        with unless_refused(), suppress(CorruptionError):  # maintenance will try again, and tell
            fresh = open_log(self.directory, segment.number, segment.entry, write=True)
            build_index(self.directory, fresh, ordered=False, hot=segment.arrays)

    def check_fits(self, held: Held, size: int) -> None:
        """Raise InvalidValueError for more bytes in one commit than a quarter of the budget."""
        max_bytes = held.view.manifest.max_bytes
        if max_bytes and size > max_bytes // LARGEST_SHARE:
            raise InvalidValueError(
                f"{size:,} bytes in one value or batch are more than a quarter of max_bytes, {max_bytes:,}; "
                "raise the budget, or store less at once"
            )

    def set_budget(self, held: Held, max_bytes: int) -> None:
        """Make `max_bytes` the budget, 0 for none; begin a segment where the active one is too long."""
        old, found = held.view.active, held.view.manifest
        before = {entry.number for entry in found.segments}
        if not max_bytes or old.end <= segment_capacity(self._segment_bytes, max_bytes):
            self.install(held, Edit(drop=before, add=_of_age(found, found.segments), max_bytes=max_bytes))
            return
        sealed, kept = self._seal(held), self._holds_anything(held)
        after = (*found.segments, sealed) if kept else found.segments
        edit = Edit(drop=before, add=_of_age(found, after), max_bytes=max_bytes)
        self._start_segment(held, edit, self._capacity_after(sealed, 0, 0, max_bytes))
        self._end_active(held, old, kept=kept)

    def _seal(self, held: Held) -> Entry:
        """Return the entry of the active segment as it is now, its index made checkable."""
        words, old = self.control.words, held.view.active
        tip = words[W_TIP] & OFFSET_MASK
        entry = replace(
            Entry.of(old.header, tip, words[W_USED], bytes_below(words[W_SYNCED], old.number, tip)),
            poisoned=words[W_POISONED] == old.number,  # by one who could not go on to give it up
        )
        # Before the manifest calls it sealed; should this end before that, the next rotation does it again.
        index.seal(old.arrays, entry.keys, tip)
        return entry

    def _capacity_after(self, sealed: Entry, size: int, keys: int, max_bytes: int | None = None) -> Capacity:
        """Return what the segment after `sealed` is made for: at least for so many bytes and keys.

        max_bytes: the budget from now on; None for the one of the store.
        """
        budget = self.view.manifest.max_bytes if max_bytes is None else max_bytes
        usual = segment_capacity(self._segment_bytes, budget)
        # A log that is made longer for one large commit holds only that, so its index needs no more keys.
        return Capacity(max(usual, HEADER_BYTES + size), max(keys, young_keys(usual, sealed)))

    def capacity(self) -> int:
        """Return the size at which a log is sealed."""
        return segment_capacity(self._segment_bytes, self.view.manifest.max_bytes)

    def _over_budget(self, held: Held, sealed: Entry, capacity: Capacity) -> list[Entry]:
        """Return the segments that must go to make room for another one, oldest first."""
        found = held.view.manifest
        if not found.max_bytes:
            return []
        usual = self._capacity_after(sealed, 0, 0)
        limit = hard_limit(found.max_bytes, usual.disk_bytes()) + self.oversized_bytes(found)
        excess = self.directory.used() + capacity.disk_bytes() - limit
        doomed = []
        with reported(self.directory.path):
            for entry in (*reversed(found.segments), sealed):
                if excess <= 0:
                    break
                doomed.append(entry)
                if not is_oversized(entry.size, found.max_bytes):
                    excess -= self.directory.used_by(entry.number)
        return doomed

    def oversized_bytes(self, found: Manifest) -> int:
        """Return the bytes of disk that the segments take which were made before the store had its budget."""
        numbers = [entry.number for entry in found.segments if is_oversized(entry.size, found.max_bytes)]
        return sum(map(self.directory.used_by, numbers))

    def clear(self, held: Held) -> None:
        """Drop every segment, at once, and take their files off the disk.

        Where that is full, it takes two steps: the sealed ones go first, and leave room for what takes the
        place of the active one.
        """
        try:
            self._begin_anew(held)
        except DiskFullError:
            if not held.view.sealed:
                raise
            self._make_room(held, held.view.manifest.segments[::-1])
            self._begin_anew(held)

    def _begin_anew(self, held: Held) -> None:
        dropped = held.view.manifest.numbers()
        sealed = {entry.number for entry in held.view.manifest.segments}
        edit = Edit(drop=sealed, floor=rank_of(self.control.words[W_NEXT]))
        self._start_segment(held, edit, self._capacity_after(self._seal(held), 0, 0))
        for number in dropped:
            self.directory.remove(number)

    def delete_prefix(self, held: Held, prefix: bytes) -> None:
        """Begin a segment with a range tombstone: whatever is older and begins with `prefix` is deleted.

        A full disk has room for it where the oldest segments hold nothing else: they go first.
        """
        words, active = self.control.words, held.view.active
        tip = words[W_TIP] & OFFSET_MASK
        is_deleted = any(prefix.startswith(each) for each in active.ranges)
        if tip == active.start and (is_deleted or not held.view.sealed):
            return  # nothing was written since it was deleted, or nothing at all
        beginning = without(prefix, active, tip, words[W_USED])
        keep = beginning.replaced is None
        while True:
            try:
                self._rotate(held, 0, 0, beginning, keep=keep)
                break
            except DiskFullError:
                if not held.view.sealed or not _is_within(held.view.sealed[-1], prefix):
                    raise
                self._make_room(held, held.view.manifest.segments[-1:])

    def _make_room(self, held: Held, doomed: Sequence[Entry]) -> None:
        """Drop the oldest segments, which are to go in any case."""
        self.control.words[W_BUSY] = 1  # again: something will be half done
        self._drop(held, doomed)

    def _start_segment(
        self, held: Held, edit: Edit, capacity: Capacity, beginning: Beginning = NOTHING
    ) -> None:
        """Create the next active segment and install the edited manifest in which it is the active one."""
        number, old = self.take_number(), beginning.replaced
        oldest, began = (old.header.oldest, old.header.began) if old else (rank_of(number), now_ms())
        floor = max(held.view.manifest.floor, edit.floor)
        first_link, ranges, taken = self.files.random_u32(), len(beginning.prefixes), len(beginning.records)
        header = LogHeader(
            number, oldest, rank_of(number), floor, first_link, began, taken=taken, ranges=ranges
        )
        data, moved = beginning.encode(first_link)
        reached = self.control.words[W_SYNCED]
        synced = {e.number: bytes_below(reached, e.number, e.size) for e in held.view.manifest.segments}
        begun = None
        try:
            begun = create_active(self.directory, header, capacity.log_bytes + len(data), capacity.keys, data)
            beginning.hand_heat_on(begun)
            # IMPORTANT: before the manifest, else a power cut leaves a name without a file
            self.directory.sync()
            written = (self.control.words[W_TIP] & OFFSET_MASK) - moved
            self.install(held, replace(edit, active=number, synced=synced), begun)
            self.control.words[W_LOGGED] += written
            self.control.row[Figure.REWRITTEN] += moved
        except StorageError:
            if begun is None or manifest.load(self.directory).active != number:
                # A full disk must not fill up with attempts, nor the numbers come to an end by them.
                self.directory.remove(number)
                self.control.words[W_NEXT] = number
                self.control.words[W_BUSY] = 0  # nothing is half done
            raise


def _is_within(segment: Segment, prefix: bytes) -> bool:
    """Whether all keys of a sealed segment begin with `prefix`, as those do between two that do."""
    with suppress(CorruptionError):
        found = bounds(segment, make=True)
        return found is not None and all(key.startswith(prefix) for key in found)
    return False


def _of_age(found: Manifest, segments: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return these segments as they are to be under another budget than the one in `found`.

    Where that has none, nobody has counted what is read of them, so that is no reason for them to go.
    """
    return tuple(segments if found.max_bytes else [replace(entry, kind="main") for entry in segments])
