"""Choosing which neighbours to merge, as one part of `plan`.

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
from itertools import groupby, takewhile

from stratakv.budget import SEGMENTS
from stratakv.maintenance.task import Limits, Task, fits, generations, live
from stratakv.manifest import Entry

FAN_IN = 8
_FEW = 4  # segments that are left as they are when there is nothing else to do


def merges(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    """Look for neighbours to merge on either side of what is damaged, and never across it."""
    young, main = generations(segments) if limits.max_bytes else (segments, ())
    for generation in (young, main):
        for sound, run in groupby(generation, key=lambda entry: entry.number not in damaged):
            neighbours = list(run)
            task = (_crowded if limits.max_bytes else _tiers)(neighbours, limits) if sound else None
            if task:
                return task
    return None


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


def affordable(merge: Task | None, segments: Sequence[Entry], limits: Limits) -> Task | None:
    """Return `merge` if there is space for what it writes; else the sweep that gives back most."""
    if merge is None or fits(_named(merge, segments), limits):
        return merge
    fitting = [entry for entry in segments if entry.dead and fits([entry], limits)]
    best = max(fitting, key=lambda entry: entry.dead, default=None)
    return Task("sweep", (best.number,)) if best else None


def at_rest(segments: Sequence[Entry], damaged: Collection[int], limits: Limits) -> Task | None:
    """Return the merge of the newest segments, as many as are balanced: none is more than half of them."""
    if limits.max_bytes or len(segments) <= _FEW:
        return None
    room = min(limits.spare_bytes, limits.free_bytes)
    total = largest = best = 0
    for count, entry in enumerate(takewhile(lambda each: each.number not in damaged, segments), 1):
        total += live(entry)
        largest = max(largest, live(entry))
        if total > room:
            break
        best = count if 2 * largest <= total else best
    return Task("merge", tuple(entry.number for entry in segments[:best])) if best else None


def _named(task: Task, segments: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in segments if entry.number in task.numbers]
