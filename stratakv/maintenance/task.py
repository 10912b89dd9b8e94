"""One thing that maintenance can do, and what the choice of it depends on: values, and arithmetic on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stratakv.budget import on_disk
from stratakv.index import ORDER_STRIDE, Shape
from stratakv.manifest import Entry

Kind = Literal["retire", "evict", "split", "drop", "finish", "sieve", "sweep", "adopt", "merge"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a choice depends on besides the segments.

    max_bytes: the budget, 0 for none. used_bytes: what all files will take once the active log is full.
    free_bytes: what is left on the file system, and up to what a store with this budget may ever take.
    active_bytes: the length that log will have. segment_bytes: size at which a log is sealed. now: ms since
    the epoch. active_oldest: the lowest rank of the active segment. spare_bytes: how much may be written for
    the sake of lookups alone; 0 where other work may come at any moment. sieve_bytes: how long the sieve is,
    0 where there is none.
    """

    max_bytes: int
    used_bytes: int
    free_bytes: int
    active_bytes: int
    segment_bytes: int
    now: int
    active_oldest: int = 2**63
    spare_bytes: int = 0
    sieve_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do, with the numbers of the segments it is about, newest first.

    retire: the oldest young segment, joined by the newest main one unless that is full. evict: the oldest
    main segment, in the same way. split: one that is too large for that.
    drop: one that is dead as a whole. finish: one, whose index gets its final form. sieve: the oldest, as
    many as a sieve may be of; none where it is removed. sweep: one, of what newer ones hide. adopt: the
    oldest young one becomes the newest main one. merge: neighbours.
    """

    kind: Kind
    numbers: tuple[int, ...]


def generations(segments: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Return the young and the main segments, newest first.

    Whatever is older than a main segment counts as main: a store may have got its budget later, and one
    that was recovered from its logs alone does not know what had come of age.
    """
    young = 0
    while young < len(segments) and segments[young].kind == "young":
        young += 1
    return segments[:young], segments[young:]


def fits(inputs: Sequence[Entry], limits: Limits) -> bool:
    """Whether there is space for what is made of these segments, its index included."""
    keys = sum(entry.keys for entry in inputs)
    return disk_bytes(sum(map(live, inputs)), keys) <= limits.free_bytes


def disk_bytes(log_bytes: int, keys: int) -> int:
    """Return what a segment takes of the disk."""
    return on_disk(log_bytes) + on_disk(Shape.exact(keys, ORDER_STRIDE).size)


def live(entry: Entry) -> int:
    return entry.size - entry.dead
