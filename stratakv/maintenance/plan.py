"""Choosing what maintenance does next: from manifest and limits to one task, without file, lock or clock.

In this order: remove a sieve that only takes room; keep the budget; drop what is dead as a whole; finish the
indexes of young segments; make a sieve of many segments; sweep what is mostly garbage; let young segments
come of age; merge.

Eviction is S3-FIFO by segments (Yang et al., "FIFO queues are all you need for cache eviction", 2023). The
young are its small queue, the main segments its main queue. Over the budget, while the young take more than
their share, the oldest of them is retired: what was read moves to the main segments, the rest goes.
Otherwise the oldest main segment is retired in the same way. As long as there is room, a young segment beyond
the share becomes a main one as it is, so that a store that fills for the first time forgets nothing.

A store without a budget is merged by size tiers: eight neighbours of one tier become one of the next. In a
store with one, merging must not blur how old things are, so it stays within a generation and below the size
of one segment in 32.

Every segment costs each lookup. So when there is nothing else to do, and writing to spare, the newest
segments of a store without a budget are merged before there are eight of them, as far as no large one is
written again for the sake of a few small ones.

Where the disk is too full for a merge, the segment that gives back most is swept instead: that takes no more
space than one segment does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Literal

from stratakv import sieve
from stratakv.budget import (
    DISK_BLOCK,
    LARGEST_SHARE,
    SEGMENTS,
    YOUNG_PERCENT,
    is_oversized,
    left_by_split,
    on_disk,
)
from stratakv.index import ORDER_STRIDE, Shape
from stratakv.manifest import Entry
from stratakv.sieve import LANES

Kind = Literal["retire", "evict", "split", "drop", "finish", "sieve", "sweep", "adopt", "merge"]

FAN_IN = 8
_GARBAGE_PERCENT = 50  # of a segment: more is swept out
_FEW = 4  # segments that are left as they are when there is nothing else to do
# Segments and their keys that are worth a sieve; it is made anew when so many have come since.
_MANY, _MANY_KEYS, _UNSIEVED = 8, 4096, 3
# Of maintenance that keeps up, fewer segments than this wait for their final index. With a budget, writers
# drop a segment when about two wait.
_WAITING, _WAITING_WITH_BUDGET = 4, 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a choice depends on besides the segments.

    max_bytes: the budget, 0 for none. used_bytes: what all files will take once the active log is full.
    free_bytes: what is left on the file system, and up to what a store with this budget may ever take.
    active_bytes: the length that log will have. segment_bytes: size at which a log is sealed. now: ms since
    the epoch. spare_bytes: how much may be written for the sake of lookups alone; 0 where other work may
    come at any moment. sieve_bytes: how long the sieve is, 0 where there is none.
    """

    max_bytes: int
    used_bytes: int
    free_bytes: int
    active_bytes: int
    segment_bytes: int
    now: int
    spare_bytes: int = 0
    sieve_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do, with the numbers of the segments it is about, newest first.

    retire: the oldest young segment, joined by the newest main one unless that is full. evict: the oldest
    main segment, in the same way. split: that, where it is too large to be evicted whole.
    drop: one that is dead as a whole. finish: one, whose index gets its final form. sieve: the oldest, as
    many as a sieve may be of; none where it is removed. sweep: one, of what newer ones hide. adopt: the
    oldest young one becomes the newest main one. merge: neighbours.
    """

    kind: Kind
    numbers: tuple[int, ...]


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
        or _unfinished(sound)
        or _unsieved(sound, sieved, limits)
        or _garbage(sound, limits)
        or _of_age(segments, limits)
        or _affordable(_merges(segments, damaged, limits), sound, limits)
        or _at_rest(segments, damaged, limits)
    )


def is_behind(segments: Sequence[Entry], damaged: Collection[int], max_bytes: int) -> bool:
    """Whether segments are sealed faster than they are finished, or swept and merged after that.

    Arguments as those of `pick`; max_bytes: the budget, 0 for none.
    """
    young = [entry for entry in segments if entry.kind == "young" and entry.number not in damaged]
    waiting = sum(not entry.finished for entry in young)
    if max_bytes:
        return waiting >= _WAITING_WITH_BUDGET
    return waiting >= _WAITING or len(young) >= FAN_IN + _WAITING


def _of_age(segments: Sequence[Entry], limits: Limits) -> Task | None:
    young, _ = generations(segments)
    if limits.max_bytes and young and _beyond_share(segments, limits):
        return Task("adopt", (young[-1].number,))
    return None


def _merges(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    """Look for neighbours to merge on either side of what is damaged, and never across it."""
    young, main = generations(segments) if limits.max_bytes else (segments, ())
    for generation in (young, main):
        for sound, run in groupby(generation, key=lambda entry: entry.number not in damaged):
            neighbours = list(run)
            task = (_crowded if limits.max_bytes else _tiers)(neighbours, limits) if sound else None
            if task:
                return task
    return None


def generations(segments: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Return the young and the main segments, newest first.

    Whatever is older than a main segment counts as main: a store may have got its budget later, and one
    that was recovered from its logs alone does not know what had come of age.
    """
    young = 0
    while young < len(segments) and segments[young].kind == "young":
        young += 1
    return segments[:young], segments[young:]


def due(segments: Sequence[Entry], now: int) -> int | None:
    """Return when the next segment will have expired as a whole, in ms since the epoch; None for never."""
    return min((e.latest for e in segments if e.soonest and e.latest > now), default=None)


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
    return _split(main[-1], limits) or evict


def _split(oldest: Entry, limits: Limits) -> Task | None:
    """Return the split of an oversized segment, or what comes before, where there is space for that."""
    if not is_oversized(oldest.size, limits.max_bytes):
        return None
    if not oldest.finished:  # till then, nobody knows what is dead in it
        return Task("finish", (oldest.number,)) if _disk_bytes(0, oldest.keys) <= limits.free_bytes else None
    left = left_by_split(limits.max_bytes, limits.used_bytes - _disk_bytes(oldest.size, oldest.keys))
    needed = min(left, _disk_bytes(_live(oldest), oldest.keys))
    return Task("split", (oldest.number,)) if 0 < needed <= limits.free_bytes else None


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


def _useless_sieve(sieved: Collection[int], limits: Limits) -> Task | None:
    """Return its removal where the sieve takes room and knows nothing, or was made for a larger budget."""
    most = max(DISK_BLOCK, 2 * limits.max_bytes // sieve.SHARE)
    return Task("sieve", ()) if limits.sieve_bytes and (not sieved or limits.sieve_bytes > most) else None


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
        if entry.dead * 100 > entry.size * _GARBAGE_PERCENT and _fits([entry], limits):
            return Task("sweep", (entry.number,))
    return None


def _affordable(merge: Task | None, segments: Sequence[Entry], limits: Limits) -> Task | None:
    """Return `merge` if there is space for what it writes; else the sweep that gives back most."""
    if merge is None or _fits(_named(merge, segments), limits):
        return merge
    fitting = [entry for entry in segments if entry.dead and _fits([entry], limits)]
    best = max(fitting, key=lambda entry: entry.dead, default=None)
    return Task("sweep", (best.number,)) if best else None


def _at_rest(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    """Return the merge of the newest segments, as many as are balanced: none is more than half of them."""
    if limits.max_bytes or len(segments) <= _FEW:
        return None
    room = min(limits.spare_bytes, limits.free_bytes)
    total = largest = best = 0
    for count, entry in enumerate(takewhile(lambda each: each.number not in damaged, segments), 1):
        total += _live(entry)
        largest = max(largest, _live(entry))
        if total > room:
            break
        best = count if 2 * largest <= total else best
    return Task("merge", tuple(entry.number for entry in segments[:best])) if best else None


def _named(task: Task, segments: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in segments if entry.number in task.numbers]


def _fits(inputs: Sequence[Entry], limits: Limits) -> bool:
    """Whether there is space for what is made of these segments, its index included."""
    keys = sum(entry.keys for entry in inputs)
    return _disk_bytes(sum(map(_live, inputs)), keys) <= limits.free_bytes


def _disk_bytes(log_bytes: int, keys: int) -> int:
    """Return what a segment takes of the disk."""
    return on_disk(log_bytes) + on_disk(Shape.exact(keys, ORDER_STRIDE).size)


def _live(entry: Entry) -> int:
    return entry.size - entry.dead


def _tiers(segments: Sequence[Entry], limits: Limits) -> Task | None:
    tiers = [_tier(entry.size, limits.segment_bytes) for entry in segments]
    for tier in range(max(tiers, default=-1) + 1):
        for run in _runs([each <= tier for each in tiers]):
            if sum(tiers[place] == tier for place in run) >= FAN_IN:
                return Task("merge", tuple(segments[place].number for place in run))
    return None


def _tier(size: int, segment_bytes: int) -> int:
    tier = 0
    while size > segment_bytes * FAN_IN**tier:
        tier += 1
    return tier


def _runs(marks: Sequence[bool]) -> Iterator[list[int]]:
    """Yield the places of each unbroken row of True."""
    for mark, places in groupby(range(len(marks)), key=marks.__getitem__):
        if mark:
            yield list(places)


def _crowded(segments: Sequence[Entry], limits: Limits) -> Task | None:
    """Return the oldest of these neighbours that together make up one segment in 32."""
    most = limits.max_bytes // SEGMENTS
    run: list[Entry] = []
    for entry in reversed(segments):
        size = sum(each.size for each in run)
        if run and size + entry.size > most:
            if _worth_merging(run, most):
                break
            run = []
        run.insert(0, entry)
    if _worth_merging(run, most):
        return Task("merge", tuple(entry.number for entry in run))
    return None


def _worth_merging(run: Sequence[Entry], most: int) -> bool:
    """Whether so much comes together that none of it is rewritten for little."""
    sizes = [entry.size for entry in run]
    balanced = 2 * max(sizes, default=0) <= sum(sizes)
    return len(run) > 1 and balanced and (len(run) >= FAN_IN or 2 * sum(sizes) >= most)
