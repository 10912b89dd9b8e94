"""Whether one segment is what was written: its log, and its index compared with that.

A record that fails its checksum does not end the reading: the one behind it is found by its lengths, where
its link confirms them, or else by the slots.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stratakv import index, manifest, past_damage
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, StrataKVError
from stratakv.index import hash_key
from stratakv.interrupted import check_refused
from stratakv.log import HEADER_BYTES, OFFSET_MASK, LogHeader
from stratakv.lookup import lookup
from stratakv.record import END, LINK_MASK, TOMBSTONE
from stratakv.segment import Segment
from stratakv.segment_files import map_index, open_log

_STEP_BYTES = 2**20
_STEP_RECORDS = 4096


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that cannot be what was written: in which file, at which byte, and why."""

    path: str
    offset: int
    reason: str


@dataclass(slots=True)
class Condition:
    """What one segment was found to be like.

    records: how many puts and deletes in it are sound.
    unsound: offsets of the records whose checksum does not hold.
    unlinked: offset of each record whose link is not that of the record before, with the link it should have.
    newest: offset of the last record of each key up to `end`.
    chain: the link of the record that comes next.
    header_sound: that of the log. log_there: whether the log's file is in its place.
    furthest: the largest offset that a slot leads to.
    """

    segment: Segment
    end: int
    chain: int
    damage: list[Damage] = field(default_factory=list)
    records: int = 0
    unsound: list[int] = field(default_factory=list)
    unlinked: dict[int, int] = field(default_factory=dict)
    newest: dict[bytes, int] = field(default_factory=dict)
    header_sound: bool = True
    index_sound: bool = True
    log_there: bool = True
    furthest: int = 0
    places: list[int] | None = None  # for `_behind` only: where the slots lead, ascending


def check(directory: Directory, segment: Segment, end: int, reached: Callable[[int], None]) -> Condition:
    """Read a segment up to the offset `end`. reached: is told now and then how far that is, as an offset."""
    found = Condition(segment, end, segment.header.first_link)
    if _is_there(directory, found):
        _check_header(found)
        with segment.walked():
            _check_log(found, reached)
        _check_index(found)
    return found


def _note(found: Condition, offset: int, reason: str) -> None:
    found.damage.append(Damage(str(found.segment.path), offset, reason))


def note_index(found: Condition, reason: str) -> None:
    found.index_sound = False
    path = found.segment.path.with_suffix(".idx")
    found.damage.append(Damage(str(path), 0, reason))


def _is_there(directory: Directory, found: Condition) -> bool:
    """Whether the log can be read: a mapped page that was cut off would end the process."""
    segment, files = found.segment, directory.files
    size = files.size(segment.fd)
    if size < found.end:
        _note(found, size, f"the log is cut short: {found.end} bytes were written")
        return False
    if not _is_same(directory, segment.path, segment.fd, segment.inode, found.end):
        found.log_there = False
        _note(found, 0, "the file was deleted or replaced; what this process has open is read on")
    path = directory.index_path(segment.number)
    replaced = segment.index_inode and _inode(directory, path) != segment.index_inode
    if replaced and not _is_made_anew(directory, segment):
        note_index(found, "the index was deleted or replaced; what this process has open is read on")
    return True


def _is_made_anew(directory: Directory, segment: Segment) -> bool:
    """Whether maintenance, or whoever healed it, has put another sound index in its place."""
    try:
        # As of now: what was being written when we began may be sealed, and finished, since.
        entries = {entry.number: entry for entry in manifest.load(directory).segments}
        entry = entries[segment.number]
        fresh = open_log(directory, segment.number, entry, write=False)
        return map_index(directory, fresh, write=False) and index.is_sound(fresh.arrays, entry.size)
    except (KeyError, OSError, StrataKVError) as problem:
        check_refused(problem)
        return False


def _inode(directory: Directory, path: Path) -> int:
    try:
        return directory.files.stat(path).st_ino
    except OSError as refusal:
        check_refused(refusal)
        return 0


def _is_same(directory: Directory, path: Path, fd: int, inode: int, end: int) -> bool:
    """Whether the file that now has this name is the one that is open, or holds the same."""
    found = _inode(directory, path)
    if not found or found == inode:
        return bool(found)
    files = directory.files
    try:
        file = directory.open(path, write=False)
    except (OSError, StrataKVError) as problem:
        check_refused(problem)
        return False
    with file:
        other, steps = file.fileno(), range(0, end, _STEP_BYTES)
        return all(
            files.pread(fd, min(_STEP_BYTES, end - o), o) == files.pread(other, min(_STEP_BYTES, end - o), o)
            for o in steps
        )


def _check_header(found: Condition) -> None:
    segment = found.segment
    if LogHeader.unpack(segment.log[:HEADER_BYTES]) != segment.header:
        found.header_sound = False
        _note(found, 0, "the header of the log is not sound")


def _check_log(found: Condition, reached: Callable[[int], None]) -> None:
    segment, end = found.segment, found.end
    offset, link = HEADER_BYTES, segment.header.first_link
    last = b""
    kind = 0
    while offset < end:
        record = segment.record_at(offset)
        if record is None or record.end > end:
            _note(found, offset, "the record's checksum does not hold")
            found.unsound.append(offset)
            offset, link = _behind(found, offset)
            continue
        if link >= 0 and record.link != link:
            _note(found, offset, "its link is not that of the record before it")
            found.unlinked[offset] = link
        kind = record.kind
        if kind <= TOMBSTONE:
            found.records += 1
            if found.records % _STEP_RECORDS == 0:
                reached(offset)
            if segment.header.ordered and record.key <= last:
                _note(found, offset, "the keys are not in order")
            last = record.key
            found.newest[last] = offset
        offset, link = record.end, record.checksum & LINK_MASK
    found.chain = max(link, 0)
    if not segment.header.is_original and kind != END and not found.unsound:
        _note(found, end, "the log does not end as a whole one does")
    if segment.header.ranges != len(segment.ranges):
        _note(found, HEADER_BYTES, "a range tombstone is missing")


def _behind(found: Condition, offset: int) -> tuple[int, int]:
    """Return where the record behind a damaged one begins, and what its link must be; -1 where unknown."""
    segment = found.segment
    follower = past_damage.follower(segment, offset, found.end)
    if follower:
        return follower.offset, follower.link
    if found.places is None:
        places = past_damage.offsets_beyond(segment)
        if segment.entry and not index.is_sound(segment.arrays, found.end):
            places = [place for place in places if segment.record_at(place)]
        found.places = places
    place = bisect_right(found.places, offset)
    return (found.places[place] if place < len(found.places) else found.end), -1


def _check_index(found: Condition) -> None:
    """Compare the index with the last record of each key.

    A key of a log that is still being written may have a later record than we have seen.
    """
    segment, arrays = found.segment, found.segment.arrays
    sealed = segment.entry is not None
    if not index.is_described(arrays, segment.number):
        note_index(found, "the header of the index is not sound")
    elif sealed and not index.is_sound(arrays, found.end):
        note_index(found, "the checksum of the index does not hold")
    wrong = _misleading(found)
    for key, offset in found.newest.items():
        if not _leads_to(found, key, offset):
            wrong.append(offset)
    if wrong:
        note_index(
            found, f"{len(wrong)} of its slots are wrong; the first concerns the record at byte {wrong[0]}"
        )
    order = () if segment.header.ordered or found.unsound else arrays.order
    if len(order) and [found.newest[key] for key in sorted(found.newest)] != list(order):
        note_index(found, "its key order is not that of the log")


def _misleading(found: Condition) -> list[int]:
    """Return where slots lead that lead to no key's last record, and note the one that leads furthest."""
    right = {*found.newest.values(), *found.unsound}
    offsets = [slot & OFFSET_MASK for slot in found.segment.slots if slot]
    found.furthest = max(offsets, default=0)
    sealed, end = found.segment.entry is not None, found.end
    return [offset for offset in offsets if offset not in right and (offset < end or sealed)]


def _leads_to(found: Condition, key: bytes, offset: int) -> bool:
    segment = found.segment
    first, second = hash_key(key)
    if not segment.may_have(first, second):
        return False
    try:
        led = lookup(segment, key, first)
    except CorruptionError as damage:
        # A damaged record in front of it, whose key has the same fingerprint.
        return damage.offset in found.unsound
    if led is None:
        return False
    return led.offset == offset or (segment.entry is None and led.offset >= found.end)
