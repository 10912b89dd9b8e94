"""The structure of the store, and how it changes.

Every change happens under the writer lock: the new files are durable first, then the manifest that names
them, then the words in CONTROL, and last of all the generation, at which every process takes a new view.
Files leave the disk only after a manifest without them is durable.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakMethod

from stratakv import index, manifest
from stratakv.budget import DISK_BLOCK, LARGEST_SHARE, hard_limit, on_disk, segment_capacity
from stratakv.build import build_index
from stratakv.control import (
    OFFSET_MASK,
    POSITION_BITS,
    W_BUSY,
    W_GENERATION,
    W_INDEXED,
    W_LOGGED,
    W_NEXT,
    W_POISONED,
    W_SYNCED,
    W_TIP,
    W_USED,
    Control,
    Figure,
    bytes_below,
    position,
)
from stratakv.directory import MOST_NUMBER, Directory
from stratakv.errors import CorruptionError, InvalidValueError, StorageError, reported
from stratakv.files import now_ms
from stratakv.handover import NOTHING, Beginning, without
from stratakv.interrupted import unless_refused
from stratakv.log import HEADER_BYTES, LogHeader, rank_of
from stratakv.manifest import Edit, Entry, Manifest
from stratakv.opening import young_keys
from stratakv.resume import MOST_AHEAD
from stratakv.segment import Segment
from stratakv.segment_files import create_active, open_log
from stratakv.view import View
from stratakv.views import Views

_SMALL_INDEX = 4 * DISK_BLOCK  # bytes: one that takes no more is not worth making anew


Message = tuple[int, str, tuple[object, ...]]  # its level, its text, and what is put into that


@dataclass(slots=True)
class Held:
    """Proof that the writer lock is held, with the view of now.

    said: what is logged once the lock is free; all others would wait for a handler that takes its time.
    """

    view: View
    said: list[Message]

    def say(self, level: int, message: str, *arguments: object) -> None:
        """Log a message once the lock is free."""
        self.said.append((level, message, arguments))


class Room(NamedTuple):
    """What an active segment is made for: the length of its log in bytes, and the keys in its index."""

    capacity: int
    keys: int

    def disk_bytes(self) -> int:
        """Return the bytes of disk that such a segment may take."""
        return on_disk(self.capacity) + on_disk(index.Shape.young(self.keys).size)


class Structure(Views):
    """The views of one process, and the ways to change for all what they show.

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

    def install(self, held: Held, edit: Edit, begun: Segment | None = None) -> None:
        """Make an edited manifest the truth, for this process and all others.

        begun: the segment that becomes active, where the edit names one.
        """
        self.check_in_place()
        following = manifest.apply(self._present(held), edit, self.control.words[W_NEXT])
        manifest.install(self.directory, following)
        self._publish(following, begun)
        held.view = self.current()

    def is_poisoned(self, number: int) -> bool:
        """Whether a sync of this log failed, as the manifest says or whoever found it out."""
        known = any(entry.poisoned for entry in self.current().manifest.segments if entry.number == number)
        return known or self.control.words[W_POISONED] == number

    def is_given_up(self, number: int) -> bool:
        """Whether nothing is written any more to a log whose sync failed, and the manifest says so."""
        found = self.current().manifest
        return found.active != number and all(e.poisoned for e in found.segments if e.number == number)

    def _present(self, held: Held) -> Manifest:
        """Return the manifest on disk, or, where that is damaged or an older one, what this process knows."""
        try:
            found = manifest.load(self.directory)
            if found.generation >= held.view.generation:
                return found
            reason = "the manifest is an older one"
        except CorruptionError as damage:
            reason = damage.reason
        held.say(logging.ERROR, "%s/MANIFEST: %s; it is written anew", self.directory.path, reason)
        return held.view.manifest

    def restore(self, held: Held) -> None:
        """Write the manifest, and the words that follow from it and from the log, anew."""
        control, active = self.control, held.view.active
        words = control.words
        control.identify(self.files.boot_id())
        end, link, used = active.filled()
        # Where tip and index agree, and the log does not reach so far, it is the log that is damaged.
        if words[W_TIP] != words[W_INDEXED] or words[W_TIP] == position(active.number, end):
            control.set_active(active.number, end, link, used)
        words[W_SYNCED] = min(words[W_SYNCED], position(active.number, 0))
        # Never lower than it was: who has slept holds segments by numbers that are free now.
        if not 0 <= words[W_NEXT] - held.view.manifest.next_number <= MOST_AHEAD:
            words[W_NEXT] = self.directory.free_number(held.view.manifest.next_number)
        self.install(held, Edit())

    def take_number(self) -> int:
        """Return the number of a new segment, under the writer lock; raises StorageError if none is left."""
        self.check_in_place()
        words = self.control.words
        number = max(words[W_NEXT], self.view.manifest.next_number)
        if number >= MOST_NUMBER:
            cause = OSError(errno.EOVERFLOW, "all numbers of segments are used up")
            raise StorageError(self.directory.path, cause, "copy what is in the store to a new one")
        words[W_NEXT] = number + 1
        return number

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
        # For as many again: the one before may have been made longer, by a process with other options.
        room = self._room(sealed, size, max(keys, 2 * len(beginning.records)))
        doomed = self._over_budget(held, sealed, room)
        # First: what is made in their place would come on top of them.
        self.drop_oldest(held, [entry for entry in doomed if entry is not sealed])
        is_doomed = sealed in doomed
        if is_doomed and keep:
            self.control.row[Figure.EVICTED] += sealed.keys
        keep &= not is_doomed
        edit = Edit(add=(sealed,) if keep else (), floor=sealed.newest + 1 if is_doomed else 0)
        self._start_segment(held, edit, room, beginning)
        self._end_active(held, old, kept=keep)

    def drop_oldest(self, held: Held, doomed: Sequence[Entry]) -> None:
        """Drop the oldest segments, oldest first, and take their files off the disk."""
        if not doomed:
            return
        self.install(held, Edit(drop={entry.number for entry in doomed}, floor=doomed[-1].newest + 1))
        for entry in doomed:
            self.control.row[Figure.EVICTED] += entry.keys
            self.directory.remove(entry.number)
            held.say(logging.INFO, "segment %d dropped: the store is over its budget", entry.number)

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
        old = held.view.active
        if not max_bytes or old.end <= segment_capacity(self._segment_bytes, max_bytes):
            self.install(held, Edit(max_bytes=max_bytes))
            return
        sealed, kept = self._seal(held), self._holds_anything(held)
        edit = Edit(add=(sealed,) if kept else (), max_bytes=max_bytes)
        self._start_segment(held, edit, self._room(sealed, 0, 0, max_bytes))
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

    def _room(self, sealed: Entry, size: int, keys: int, max_bytes: int | None = None) -> Room:
        """Return what the segment after `sealed` is made for: at least for so many bytes and keys.

        max_bytes: the budget from now on; None for the one of the store.
        """
        budget = self.view.manifest.max_bytes if max_bytes is None else max_bytes
        usual = segment_capacity(self._segment_bytes, budget)
        # A log that is made longer for a commit has no room for another one, so it gets no more keys, either.
        return Room(max(usual, HEADER_BYTES + size), max(keys, young_keys(usual, sealed)))

    def capacity(self) -> int:
        """Return the size at which a log is sealed."""
        return segment_capacity(self._segment_bytes, self.view.manifest.max_bytes)

    def _over_budget(self, held: Held, sealed: Entry, room: Room) -> list[Entry]:
        """Return the segments that must go to make `room`, oldest first."""
        found = held.view.manifest
        if not found.max_bytes:
            return []
        usual = self._room(sealed, 0, 0)
        limit = hard_limit(found.max_bytes, usual.disk_bytes())
        excess = self.directory.used() + room.disk_bytes() - limit
        doomed = []
        with reported(self.directory.path):
            for entry in (*reversed(found.segments), sealed):
                if excess <= 0:
                    break
                doomed.append(entry)
                excess -= self.directory.used_by(entry.number)
        return doomed

    def _end_log(self, segment: Segment) -> None:
        """Give a sealed log the size it was sealed at: it was made longer than that."""
        with reported(segment.path):
            if self.files.size(segment.fd) > segment.end:
                self.files.truncate(segment.fd, segment.end)

    def clear(self, held: Held) -> None:
        """Drop every segment, at once, and take their files off the disk."""
        dropped = held.view.manifest.numbers()
        sealed = {entry.number for entry in held.view.manifest.segments}
        edit = Edit(drop=sealed, floor=rank_of(self.control.words[W_NEXT]))
        self._start_segment(held, edit, self._room(self._seal(held), 0, 0))
        for number in dropped:
            self.directory.remove(number)

    def delete_prefix(self, held: Held, prefix: bytes) -> None:
        """Begin a segment with a range tombstone: whatever is older and begins with `prefix` is deleted."""
        words, active = self.control.words, held.view.active
        tip = words[W_TIP] & OFFSET_MASK
        is_deleted = any(prefix.startswith(each) for each in active.ranges)
        if tip == active.start and (is_deleted or not held.view.sealed):
            return  # nothing was written since it was deleted, or nothing at all
        beginning = without(prefix, active, tip, words[W_USED])
        self._rotate(held, 0, 0, beginning, keep=beginning.replaced is None)

    def _start_segment(self, held: Held, edit: Edit, room: Room, beginning: Beginning = NOTHING) -> None:
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
        try:
            begun = create_active(self.directory, header, room.capacity + len(data), room.keys, data)
            beginning.hand_heat_on(begun)
            # IMPORTANT: before the manifest, else a power cut leaves a name without a file
            self.directory.sync()
            written = (self.control.words[W_TIP] & OFFSET_MASK) - moved
            self.install(held, replace(edit, active=number, synced=synced), begun)
            self.control.words[W_LOGGED] += written
            self.control.row[Figure.REWRITTEN] += moved
        except StorageError:
            if manifest.load(self.directory).active != number:
                # A full disk must not fill up with attempts, nor the numbers come to an end by them.
                self.directory.remove(number)
                self.control.words[W_NEXT] = number
                self.control.words[W_BUSY] = 0  # nothing is half done
            raise

    def finish(self) -> None:
        """Finish the change of structure that a process left half done when it died, if it did."""
        self.check_in_place()
        found = manifest.load(self.directory)
        # IMPORTANT: it may have been renamed and no more. Whatever is promised from now on depends on it.
        self.directory.sync()
        self._remove_begun(found)
        begun = None
        if self.control.words[W_TIP] >> POSITION_BITS != found.active:
            with reported(self.directory.path):
                begun = self.open_active(found.active)
        self._publish(found, begun)
        sealed = self.current().sealed
        if sealed:
            self._end_log(sealed[0])

    def _remove_begun(self, found: Manifest) -> None:
        """Remove the segments that were only begun by a process that died before the manifest named them.

        To whoever finds the logs alone, each would be newer than what is written from now on, and hide it.
        """
        named = found.numbers()
        for number in self.directory.numbers("log"):
            if number > found.active and number not in named:
                with suppress(CorruptionError, FileNotFoundError):  # without a header it hides nothing
                    begun = open_log(self.directory, number, write=False)
                    if begun.header.is_original and begun.added()[0] <= 0:
                        self.directory.remove(number)

    def _publish(self, found: Manifest, begun: Segment | None) -> None:
        words = self.control.words
        # The generation first: whoever sees the new tip must have reason to look for its segment.
        words[W_GENERATION] = found.generation
        if begun is not None and words[W_TIP] >> POSITION_BITS != found.active:
            self.control.set_active(found.active, *begun.filled())
