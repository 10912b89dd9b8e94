"""How a change of structure becomes the truth, for this process and all others.

Every change happens under the writer lock: the new files are durable first, then the manifest that names
them, then the words in CONTROL, and last of all the generation, at which every process takes a new view.
Files leave the disk only after a manifest without them is durable.
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from dataclasses import dataclass

from stratakv import manifest
from stratakv.control import W_GENERATION, W_INDEXED, W_NEXT, W_POISONED, W_SYNCED, W_TIP, position
from stratakv.directory import MOST_NUMBER
from stratakv.errors import CorruptionError, StorageError, reported
from stratakv.log import OFFSET_BITS
from stratakv.manifest import Edit, Manifest
from stratakv.resume import MOST_AHEAD
from stratakv.segment import Segment
from stratakv.segment_files import open_log
from stratakv.view import View
from stratakv.views import Views

Message = tuple[int, str, tuple[object, ...]]  # its level, its text, and what is put into that


@dataclass(slots=True)
class Held:
    """Proof that the writer lock is held, with the view of now.

    messages: what is logged once the lock is free; all others would wait for a handler that takes its time.
    """

    view: View
    messages: list[Message]

    def say(self, level: int, message: str, *arguments: object) -> None:
        """Log a message once the lock is free."""
        self.messages.append((level, message, arguments))


class Installer(Views):
    """The views of one process, and the way to change for all what they show."""

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

    def finish(self) -> None:
        """Finish the change of structure that a process left half done when it died, if it did."""
        self.check_in_place()
        found = manifest.load(self.directory)
        # IMPORTANT: it may have been renamed and no more. Whatever is promised from now on depends on it.
        self.directory.sync()
        with reported(self.directory.path):
            self._remove_begun(found)
        begun = None
        if self.control.words[W_TIP] >> OFFSET_BITS != found.active:
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

    def _end_log(self, segment: Segment) -> None:
        """Give a sealed log the size it was sealed at: it was made longer than that."""
        with reported(segment.path):
            if self.files.size(segment.fd) > segment.end:
                self.files.truncate(segment.fd, segment.end)

    def _publish(self, found: Manifest, begun: Segment | None) -> None:
        words = self.control.words
        # The generation first: whoever sees the new tip must have reason to look for its segment.
        words[W_GENERATION] = found.generation
        if begun is not None and words[W_TIP] >> OFFSET_BITS != found.active:
            self.control.set_active(found.active, *begun.filled())
