"""Mending what `verify` finds, while others read and write.

    header of a log, link      follow from what is sound, and are written anew in their place
    one bit of a record        is found by trying each, and flipped back: the checksum proves it
    an index                   is made anew from its log
    any other record           its segment is written anew without it; the damaged log goes to lost+found
    FORMAT, MANIFEST, CONTROL  are written anew from what this process knows

The key of a record that is lost cannot be believed, but its slot still says 24 bits of the key's hash and
nearly all of its home. Each key of an older segment that they fit gets a tombstone in the new one, so that
no older version comes back. A lost record that no slot leads to was not the last of its key, and goes. Where
the index is damaged as well, nobody can tell which is which: then the segment is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stratakv import past_damage
from stratakv.bit_flip import flipped_back
from stratakv.build import build_index
from stratakv.control import W_TIP
from stratakv.errors import CorruptionError, StorageError, reported
from stratakv.index import FINGERPRINT, hash_key
from stratakv.log import OFFSET_MASK
from stratakv.lost_found import LostFound
from stratakv.maintenance.blocks import Block, merged, placeholder
from stratakv.maintenance.early_end import SupersededError
from stratakv.maintenance.merge import Merger, job_of
from stratakv.manifest import Edit
from stratakv.progress import Progress, untold
from stratakv.record import PREFIX_BYTES, TOMBSTONE
from stratakv.segment import Segment
from stratakv.segment_files import open_log
from stratakv.snapshots import Snapshots
from stratakv.soundness import Condition
from stratakv.structure import Structure
from stratakv.verify import Inspection, VerifyReport, inspect
from stratakv.view import View
from stratakv.writer_lock import WriterLock

logger = logging.getLogger("stratakv")

_BLOCK = 4096  # records


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair; sync: makes all that is committed durable."""

    structure: Structure
    writer_lock: WriterLock
    snapshots: Snapshots
    sync: Callable[[], None]

    def run(self, progress: Progress) -> VerifyReport:
        """Mend what can be mended, and report that; the caller holds maintenance.lock."""
        before = inspect(self.snapshots, progress)
        if not before.damage():
            return before.report()
        self._mend_files(before)
        lost = sum(self._try(found) for found in before.segments if found.damage)
        after = inspect(self.snapshots, untold)
        left = set(after.damage())
        return after.report(tuple(one for one in before.damage() if one not in left), lost)

    def _mend_files(self, before: Inspection) -> None:
        if before.files:
            with self.writer_lock.hold() as held:
                self.structure.restore(held)
            self.structure.directory.write_format()  # last: the other has looked whose directory it is

    def _try(self, found: Condition) -> int:
        """Mend one segment, return how many records are lost; what cannot be mended stays as it is."""
        try:
            return self._mend(found)
        except (SupersededError, FileNotFoundError):
            logger.info("segment %d has gone meanwhile", found.segment.number)
        except (CorruptionError, StorageError) as problem:
            logger.error("%s; the segment is left as it is", str(problem))
        return 0

    def _mend(self, found: Condition) -> int:
        segment = found.segment
        self._mend_in_place(found)
        if not found.log_there:
            self._put_back(segment, found.end)
        if segment.entry is None and (found.unsound or not found.index_sound):
            segment = self._sealed(segment)
        if found.unsound and found.index_sound:
            return self._rewrite(segment, set(found.unsound))
        if not found.index_sound and not found.unsound:
            self._reindex(segment)
        return 0

    def _sealed(self, active: Segment) -> Segment:
        """Return the segment that was being written, sealed."""
        with self.writer_lock.hold() as held:
            if held.view.active is active:  # pragma: no branch: a writer has sealed it meanwhile
                self.structure.rotate(held)
        return _segment(self.structure.current(), active.number)

    def _put_back(self, segment: Segment, end: int) -> None:
        """Write a log that was deleted or replaced to its place, from what is open here."""
        with self.writer_lock.hold() as held:
            self.structure.check_in_place()  # reading all of it took its time
            if held.view.active is segment:
                end = self.structure.control.words[W_TIP] & OFFSET_MASK
            try:
                self._copy(segment, end)
            except StorageError:
                self.writer_lock.settle()  # else it would pass for a commit that was broken off
                raise
            # The others write on to a file without a name.
            if held.view.active is segment:
                self.structure.rotate(held)

    def _copy(self, segment: Segment, end: int) -> None:
        directory, files = self.structure.directory, self.structure.files
        with directory.made_anew(segment.path) as fd:
            files.copy(segment.fd, fd, end)
            files.fdatasync(fd)
        directory.sync()

    # -- in place ----------------------------------------------------------------------------------------

    def _mend_in_place(self, found: Condition) -> None:
        segment = found.segment
        if not found.header_sound:
            self._write(segment, segment.header.pack(), 0)
        found.unsound = [
            offset for offset in found.unsound if not self._flip_back(segment, offset, found.end)
        ]
        for offset, link in found.unlinked.items():
            self._write(segment, link.to_bytes(4, "little"), offset + 8)

    def _write(self, segment: Segment, data: bytes, offset: int) -> None:
        files = self.structure.files
        with reported(segment.path):
            files.write_all(segment.fd, data, offset)
            files.fdatasync(segment.fd)

    def _flip_back(self, segment: Segment, offset: int, end: int) -> bool:
        """Mend a record of which one bit is wrong; return whether it was."""
        mended = flipped_back(segment.log, offset, end)
        if mended:
            self._write(segment, mended, offset)
        return mended is not None

    # -- made anew ---------------------------------------------------------------------------------------

    def _reindex(self, segment: Segment) -> None:
        """Make the index of a sealed segment anew, and have all processes map it."""
        entry = segment.sealed_entry
        fresh = open_log(self.structure.directory, segment.number, entry, write=True)
        build_index(self.structure.directory, fresh, ordered=entry.finished, elected=True)
        with self.writer_lock.hold() as held:
            self.structure.install(held, Edit())

    def _rewrite(self, segment: Segment, unsound: set[int]) -> int:
        """Write a segment anew without its unsound records, and return how many keys that concerns."""
        view = self.structure.current()
        segment = _segment(view, segment.number)
        job = job_of(view, [segment], segment.sealed_entry.kind)
        lost = [place for place, slot in enumerate(segment.slots) if slot & OFFSET_MASK in unsound]
        hidden = sorted(_keys_for(segment, lost, view.older_than(segment)))
        lost_found = LostFound(self.structure.directory)
        kept = lost_found.link(segment.path.name)
        lost_found.sync()
        merger = Merger(self.structure, self.writer_lock, lambda read: None)
        sound = merger.whole(view, segment, _sound(segment, unsound))
        blocks = merged([sound, iter([[placeholder(key) for key in hidden]])])
        merger.run(view, job, [blocks], before_install=self.sync)
        logger.error(
            "%s: records lost: %d; older versions that stay hidden: %d; the log is in %s",
            segment.path,
            len(lost),
            len(hidden),
            kept,
        )
        return len(lost)


def _segment(view: View, number: int) -> Segment:
    for segment in view.sealed:
        if segment.number == number:
            return segment
    raise SupersededError


# -- a segment without some of its records -------------------------------------------------------------


def _sound(segment: Segment, unsound: set[int]) -> Iterator[Block]:
    """Yield the last record of each key that is sound, in key order."""
    offsets = [offset for offset in past_damage.offsets_beyond(segment) if offset not in unsound]
    if not segment.header.ordered:
        offsets.sort(key=lambda offset: segment.sound(offset).key)
    for begun in range(0, len(offsets), _BLOCK):
        block: Block = []
        for offset in offsets[begun : begun + _BLOCK]:
            found = segment.sound(offset)
            body = segment.view[offset + PREFIX_BYTES : found.end]
            block.append((found.key, body, offset, found.checksum, found.expiry, 0))
        yield block


def _keys_for(segment: Segment, lost: Sequence[int], older: Sequence[Segment]) -> set[bytes]:
    """Return the keys of older segments that a lookup would have looked for in one of the `lost` slots."""
    wanted: dict[int, list[int]] = {}
    for place in lost:
        wanted.setdefault(segment.slots[place] & FINGERPRINT, []).append(place)
    keys = set()
    for other in older:
        for slot in other.slots:
            places = wanted.get(slot & FINGERPRINT) if slot else None
            found = other.record_at(slot & OFFSET_MASK) if places else None
            if found and found.kind <= TOMBSTONE and _is_led_to(segment, found.key, places or ()):
                keys.add(found.key)
    return keys


def _is_led_to(segment: Segment, key: bytes, places: Sequence[int]) -> bool:
    """Whether the probes for `key` come to one of the slots `places`."""
    place = hash_key(key)[0] % segment.slot_count
    while segment.slots[place]:
        if place in places:
            return True
        place = (place + 1) % segment.slot_count
    return False
