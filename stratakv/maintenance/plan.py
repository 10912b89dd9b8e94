"""Choosing what maintenance does next: from manifest and limits to one task, without file, lock or clock.

In this order: remove a sieve that only takes room; keep the budget; drop what is dead as a whole; split what
was made before the store had this budget; finish the indexes of young segments; make a sieve of many; sweep
what is mostly garbage; let young segments come of age; merge.

Eviction is S3-FIFO by segments (Yang et al., "FIFO queues are all you need for cache eviction", 2023). The
young are its small queue, the main segments its main queue. Over the budget, while the young take more than
their share, the oldest of them is retired: what was read moves to the main segments, the rest goes.
Otherwise the oldest main segment is retired in the same way, or split where it is too large for that. As long
as there is room, a young segment beyond the share becomes a main one as it is, so that a store that fills for
the first time forgets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stratakv import sieve
from stratakv.budget import (
    DISK_BLOCK,
    LARGEST_SHARE,
    SEGMENTS,
    YOUNG_PERCENT,
    is_oversized,
    left_by_split,
    on_disk,
    parts_of,
    ranks_of_parts,
)
from stratakv.maintenance.merging import FAN_IN, affordable, at_rest, merges
from stratakv.maintenance.task import Limits, Task, disk_bytes, fits, generations, live
from stratakv.manifest import Entry
from stratakv.sieve import LANES

_GARBAGE_PERCENT = 50  # of a segment: more is swept out
# Segments and their keys that are worth a sieve; it is made anew when so many have come since.
_MANY, _MANY_KEYS, _UNSIEVED = 8, 4096, 3
# Of maintenance that keeps up, fewer segments than this wait for their final index. With a budget, writers
# drop a segment when about two wait.
_WAITING, _WAITING_WITH_BUDGET = 4, 2


def pick(
    segments: Sequence[Entry],
    hidden: Collection[int],
    damaged: Collection[int],
    limits: Limits,
    sieved: Collection[int] = (),
) -> Task | None:
    """Return the next task, or None where all is well.

    segments: the sealed ones, newest first. hidden: the numbers of those that a range tombstone covers.
    damaged: of those that could not be read to their end, which are not read again; with a budget they grow
    old as others do, and are dropped as the oldest. sieved: of those that the sieve is of.
    """
    sound = [entry for entry in segments if entry.number not in damaged]
    return (
        _useless_sieve(sieved, limits)
        or _over_budget(segments, damaged, limits)
        or _dead(sound, segments, hidden, limits)
        or _oversized(segments, damaged, limits)
        or _unfinished(sound)
        or _unsieved(sound, sieved, limits)
        or _garbage(sound, limits)
        or _of_age(segments, limits)
        or affordable(merges(segments, damaged, limits), sound, limits)
        or at_rest(segments, damaged, limits)
    )


def _useless_sieve(sieved: Collection[int], limits: Limits) -> Task | None:
    """Return its removal where the sieve takes room and knows nothing, or was made for a larger budget."""
    most = max(DISK_BLOCK, 2 * limits.max_bytes // sieve.SHARE)
    return Task("sieve", ()) if limits.sieve_bytes and (not sieved or limits.sieve_bytes > most) else None


def _over_budget(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    if not limits.max_bytes or limits.used_bytes <= limits.max_bytes:
        return None
    young, main = generations(segments)
    if main and main[-1].number in damaged:
        return Task("drop", (main[-1].number,))
    room = _room_in(main, damaged, limits)
    if young and (_beyond_share(segments, limits) or not main):
        # What of a damaged one is read cannot be told, and those behind it wait.
        if young[-1].number in damaged or is_oversized(young[-1].size, limits.max_bytes):
            return Task("adopt", (young[-1].number,))
        return Task("retire", (young[-1].number, *room))
    if not main:
        return None
    # A large one goes alone: if all of it were read, round for round, it would grow each time.
    joined = room if main[-1].size * LARGEST_SHARE <= limits.max_bytes else ()
    evict = Task("evict", (*(number for number in joined if number != main[-1].number), main[-1].number))
    return _split(segments, len(segments) - 1, limits) or evict


def _oversized(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    """Return the split of the oldest segment that wants one: till then, it comes on top of the budget."""
    for place in reversed(range(len(segments) if limits.max_bytes else 0)):
        if segments[place].number not in damaged and (task := _split(segments, place, limits)):
            return task
    return None


def _split(segments: Sequence[Entry], place: int, limits: Limits) -> Task | None:
    """Return the split of an oversized segment, or what comes before, where there is space for that."""
    entry = segments[place]
    above = segments[place - 1].oldest if place else limits.active_oldest
    parts = parts_of(live(entry), limits.max_bytes)
    has_ranks = len(ranks_of_parts(entry.newest, above, parts)) == parts
    if not is_oversized(entry.size, limits.max_bytes) or not has_ranks:
        return None
    if not entry.finished and disk_bytes(0, entry.keys) <= limits.free_bytes:
        return Task("finish", (entry.number,))  # which counts what is dead in it
    others = limits.used_bytes - disk_bytes(entry.size, entry.keys)
    living = disk_bytes(live(entry), entry.keys)
    left = left_by_split(limits.max_bytes, others, living)  # where that is not all, it is the oldest segment
    needed = living if left is None else min(living, left)
    return Task("split", (entry.number,)) if 0 < needed <= limits.free_bytes else None


def _beyond_share(segments: Sequence[Entry], limits: Limits) -> bool:
    """Whether the young take more than their share of the room that the budget leaves for logs.

    That is less than the budget: in a small store the indexes and the other files take a third.
    """
    logs = limits.active_bytes + sum(entry.size for entry in segments)
    young = sum(entry.size for entry in generations(segments)[0])
    return young * limits.used_bytes * 100 > YOUNG_PERCENT * limits.max_bytes * logs


def _room_in(main: Sequence[Entry], damaged: Collection[int], limits: Limits) -> tuple[int, ...]:
    """Return the newest main segment, which what is moved joins, unless it is a full one."""
    newest = main[0] if main else None
    if newest and newest.number not in damaged and newest.size < limits.max_bytes // SEGMENTS:
        return (newest.number,)
    return ()


def _dead(
    sound: Sequence[Entry], segments: Sequence[Entry], hidden: Collection[int], limits: Limits
) -> Task | None:
    for entry in sound:
        if entry.number in hidden or (entry.soonest and 0 < entry.latest <= limits.now):
            return Task("drop", (entry.number,))
    oldest = segments[-1] if segments else None
    if oldest in sound and oldest and oldest.tombstones * 100 > oldest.size * _GARBAGE_PERCENT:
        return Task("merge", (oldest.number,))  # nothing is left that its tombstones could hide
    return None


def _unfinished(segments: Sequence[Entry]) -> Task | None:
    for entry in reversed(segments):
        if not entry.finished:
            return Task("finish", (entry.number,))
    return None


def _unsieved(segments: Sequence[Entry], sieved: Collection[int], limits: Limits) -> Task | None:
    """Return the sieve of a store with a budget; where there is none, few segments are left at rest."""
    oldest = segments[-LANES:]
    keys = sum(entry.keys for entry in oldest)
    if not limits.max_bytes or len(oldest) < _MANY or keys < _MANY_KEYS:
        return None
    unsieved = sum(entry.number not in sieved for entry in oldest)
    size = sieve.size_of(sieve.bits_for(keys // len(oldest), limits.max_bytes))
    if unsieved < _UNSIEVED or on_disk(size) > limits.free_bytes:
        return None
    return Task("sieve", tuple(entry.number for entry in oldest))


def _garbage(segments: Sequence[Entry], limits: Limits) -> Task | None:
    for entry in segments:
        if entry.dead * 100 > entry.size * _GARBAGE_PERCENT and fits([entry], limits):
            return Task("sweep", (entry.number,))
    return None


def _of_age(segments: Sequence[Entry], limits: Limits) -> Task | None:
    young, _ = generations(segments)
    if limits.max_bytes and young and _beyond_share(segments, limits):
        return Task("adopt", (young[-1].number,))
    return None


def due(segments: Sequence[Entry], now: int) -> int | None:
    """Return when the next segment will have expired as a whole, in ms since the epoch; None for never."""
    return min((e.latest for e in segments if e.soonest and e.latest > now), default=None)


def is_behind(segments: Sequence[Entry], damaged: Collection[int], max_bytes: int) -> bool:
    """Whether segments are sealed faster than they are finished, or swept and merged after that.

    Arguments as those of `pick`; max_bytes: the budget, 0 for none.
    """
    young = [entry for entry in segments if entry.kind == "young" and entry.number not in damaged]
    waiting = sum(not entry.finished for entry in young)
    if max_bytes:
        return waiting >= _WAITING_WITH_BUDGET
    return waiting >= _WAITING or len(young) >= FAN_IN + _WAITING
