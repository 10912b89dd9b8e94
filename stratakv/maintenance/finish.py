"""Giving a young segment its final index: as large as its keys need, with their order, and durable.

With it comes what a choice of work depends on: when the records expire, and how much of the older segments
these records hide.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from stratakv.build import build_index
from stratakv.control import W_POISONED
from stratakv.errors import CorruptionError
from stratakv.interrupted import check_refused
from stratakv.lookup import Candidates, newest
from stratakv.maintenance.early_end import Pace, SupersededError, Take
from stratakv.manifest import Edit, Entry
from stratakv.record import HEADER_BYTES, TOMBSTONE_EXPIRY, unpack_fields
from stratakv.segment import Segment
from stratakv.segment_files import open_log
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock

logger = logging.getLogger("stratakv")

_KEYS_AT_ONCE = 1000  # between two looks whether to go on


@dataclass(slots=True)
class _Counts:
    """What one segment was found to hold; `hides` has the bytes for each older segment's number."""

    keys: int = 0
    newest_bytes: int = 0
    tombstones: int = 0
    expiring: int = 0
    soonest: int = 0
    latest: int = 0
    hides: Counter[int] = field(default_factory=Counter)


def finish(
    structure: Structure, writer_lock: WriterLock, view: View, segment: Segment, pace: Pace, take: Take
) -> None:
    """Finish the index of a sealed segment and tell the manifest; the caller holds maintenance.lock."""
    directory = structure.directory
    try:
        fresh = open_log(directory, segment.number, segment.sealed_entry, write=True)
    except FileNotFoundError:
        if segment.number in structure.current().manifest.numbers():
            raise
        raise SupersededError from None
    words = structure.control.words
    poisoned = structure.is_poisoned(segment.number)
    if not poisoned:
        try:
            directory.files.fdatasync(fresh.fd)
        except OSError as refusal:  # never to be tried again: the next one would succeed without the data
            check_refused(refusal)
            poisoned = True
            # At once, as what follows may fail as well; but not in the place of one known to nobody else.
            if structure.is_given_up(words[W_POISONED]):
                words[W_POISONED] = segment.number
            logger.exception("%s could not be synced; what is not on disk yet may be lost", fresh.path)
    hot = segment.arrays if view.marks else None
    build_index(directory, fresh, ordered=True, hot=hot, elected=True, take=take)
    counts = _count(fresh, view.among(view.older_than(segment)), pace)
    with writer_lock.hold() as held:
        now = {entry.number: entry for entry in held.view.manifest.segments}
        if segment.number not in now:
            directory.discard(directory.index_path(segment.number))  # made after it was removed
            raise SupersededError
        if directory.files.stat(directory.index_path(segment.number)).st_ino != fresh.index_inode:
            raise SupersededError  # who sealed it has trimmed its index meanwhile, and it has no order now
        changed = [_finished(now[segment.number], counts, segment.start, poisoned=poisoned)]
        for number, hidden in counts.hides.items():
            if number in now:
                changed.append(replace(now[number], dead=now[number].dead + hidden))
        structure.install(held, Edit(drop={entry.number for entry in changed}, add=tuple(changed)))


def _count(segment: Segment, older: Candidates, pace: Pace) -> _Counts:
    """Count what the records are that the index of `segment` leads to; it was just made of sound ones.

    Its order has all of them, as a log that is in key order itself needs no finishing.
    """
    counts = _Counts()
    log, view, order = segment.log, segment.view, segment.arrays.order
    for begun in range(0, len(order), _KEYS_AT_ONCE):
        before = counts.newest_bytes
        for offset in order[begun : begun + _KEYS_AT_ONCE]:
            _, value_bytes, key_bytes, expiry = unpack_fields(view, offset)
            start = offset + HEADER_BYTES
            size = HEADER_BYTES + key_bytes + value_bytes
            counts.keys += 1
            counts.newest_bytes += size
            if expiry == TOMBSTONE_EXPIRY:
                counts.tombstones += size
                counts.expiring += 1
            elif expiry:
                counts.expiring += 1
                counts.soonest = min(counts.soonest or expiry, expiry)
                counts.latest = max(counts.latest, expiry)
            _count_hidden(counts, log[start : start + key_bytes], older)
        pace(counts.newest_bytes - before)
    return counts


def _count_hidden(counts: _Counts, key: bytes, older: Candidates) -> None:
    """Count the next older record of `key` as hidden in its segment."""
    try:
        found = newest(older, key)
    except CorruptionError:
        return
    if found:
        # Not more than there is, where its lengths are damaged.
        counts.hides[found.segment.number] += min(found.end, found.segment.end) - found.offset


def _finished(entry: Entry, counts: _Counts, start: int, *, poisoned: bool) -> Entry:
    poisoned |= entry.poisoned
    return replace(
        entry,
        finished=True,
        poisoned=poisoned,
        synced=entry.synced if poisoned else entry.size,
        keys=counts.keys,
        dead=entry.dead + entry.size - start - counts.newest_bytes,
        tombstones=counts.tombstones,
        soonest=counts.soonest,
        latest=counts.latest if counts.expiring == counts.keys else 0,
    )
