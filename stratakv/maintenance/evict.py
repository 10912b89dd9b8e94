"""What is kept of a segment that is given up for the budget.

Such a segment is retired: some of its records move on into another segment, and the rest are evicted. Two
tasks of the plan do this: "retire" to a young segment, "evict" to a main one.

A record moves when it was read and is still its key's current version. Two kinds count as read without being
so: one whose key was a ghost when it was written, and one that has replaced a version that was read, as each
request does with a session. On the way from a young segment into the main ones, reads are forgotten; on the
way from one main segment into another, they are counted down by one. Keys that go from a young segment become
ghosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stratakv import ghosts
from stratakv.directory import GHOSTS_NAME, Directory
from stratakv.errors import CorruptionError
from stratakv.ghosts import Ghosts
from stratakv.index import HOTTEST, hash_key
from stratakv.lookup import Candidates, newest
from stratakv.maintenance.blocks import Block, Item, heat_in, hiding, in_key_order, range_prefixes, warmed
from stratakv.maintenance.early_end import Take
from stratakv.maintenance.merge import Job, job_of, living_keys
from stratakv.maintenance.task import generations
from stratakv.opening import map_ghosts
from stratakv.record import is_live
from stratakv.segment import Segment
from stratakv.view import View


def job_of_young(view: View, inputs: Sequence[Segment]) -> Job:
    """Return the job that retires a young segment, the first of `inputs`."""
    expected = _read_keys(inputs[0]) + sum(map(living_keys, inputs[1:]))
    return replace(job_of(view, inputs, "main"), expected=expected)


def job_of_main(view: View, inputs: Sequence[Segment]) -> Job:
    """Return the job that retires the oldest segment, the last of `inputs`.

    What moves becomes the newest of the main segments, so that it is a whole round until it is asked again.
    The floor tells whoever finds the logs alone that the old place is void.
    """
    oldest = inputs[-1]
    assert oldest is view.sealed[-1]
    young, _ = generations(view.manifest.segments)
    main = view.sealed[len(young) :]
    expected = _read_keys(oldest) + sum(map(living_keys, inputs[:-1]))
    if len(main) == 1:  # in its own place
        return Job(inputs, expected, (), (), "main", oldest.header.oldest, oldest.header.newest)
    rank = main[0].header.newest + 1
    no_room = rank >= (young[-1].oldest if young else view.active.header.oldest)
    joined = main[:1] if no_room else inputs[:-1]
    lowest, highest = (joined[-1].header.oldest, joined[0].header.newest) if joined else (rank, rank)
    between = [segment for segment in main if segment is not oldest and segment not in joined]
    # Nothing is older than what is retired, so its own range tombstones hide nothing.
    ranges = range_prefixes(joined) if between else ()
    floor = oldest.header.newest + 1
    return Job((*joined, oldest), expected, between, ranges, "main", lowest, highest, floor)


def _read_keys(segment: Segment) -> int:
    """Return how many keys of a segment were read."""
    return len(segment.hot) - bytes(segment.hot).count(0)


class Retirement:
    """What of one segment moves on. keys: how many were evicted."""

    def __init__(self, view: View, table: Ghosts, now: int) -> None:
        self._view = view
        self._ghosts = table
        self._now = now
        self._gave: list[tuple[Segment, int]] = []  # versions whose heat others took over, by their slots
        self.keys = 0

    def end(self) -> None:
        """Take the heat from what gave it, once what took it over is in the store: a retirement that is given
        up would be the end of both.
        """
        for segment, place in self._gave:
            segment.hot[place] = 0

    def of_young(self, segment: Segment) -> Iterator[Block]:
        """Yield what moves, and as tombstones what has to hide an older version."""
        view = self._view
        newer = view.among((view.active, *view.newer_than(segment)))
        older = view.among(view.older_than(segment))
        for block in in_key_order(segment):
            moved = []
            for item in block:
                heat, hides = heat_in(segment, item), True
                if not heat:
                    heat, hides = self._taken_over(older, item[0])
                if heat and self._moves(newer, segment, item, heat):
                    moved.append(warmed(item, 0))
                    continue
                self.keys += 1
                self._ghosts.add(hash_key(item[0])[0])
                if hides:
                    moved.append(hiding(item))
            yield moved

    def _taken_over(self, older: Candidates, key: bytes) -> tuple[int, bool]:
        """Return the heat of the version that was the key's before this one, and whether there may be one."""
        try:
            found = newest(older, key)
        except CorruptionError:
            return 0, True
        if found is None:
            return 0, False
        heat: int = found.segment.hot[found.place]
        if heat:
            self._gave.append((found.segment, found.place))
        return heat, True

    def of_main(self, segment: Segment) -> Iterator[Block]:
        """Yield what moves.

        Where there is nothing but main segments, that is three quarters at most, the hottest: readers of all
        of a store that is too large would have it rewritten for ever.
        """
        young, _ = generations(self._view.manifest.segments)
        least, left = (1, len(segment.hot)) if young else _least(segment)
        newer = self._view.among((self._view.active, *self._view.newer_than(segment)))
        for block in in_key_order(segment):
            moved = []
            for item in block:
                heat = heat_in(segment, item)
                chosen = heat > least or (heat == least and left > 0)
                if chosen and self._moves(newer, segment, item, heat):
                    moved.append(warmed(item, heat - 1))
                    left -= heat == least
                else:
                    self.keys += 1
            if moved:
                yield moved

    def _moves(self, newer: Candidates, segment: Segment, item: Item, heat: int) -> bool:
        """Whether this is the live and current version of the key; a newer one gets the heat."""
        key, expiry = item[0], item[4]
        if not is_live(expiry, self._now) or self._view.hides(segment, key):
            return False
        return is_current(newer, key, heat)


def _least(segment: Segment) -> tuple[int, int]:
    """Return the least heat with which a key may move, and how many may that have no more."""
    hot = bytes(segment.hot)
    left = max(1, segment.sealed_entry.keys * 3 // 4)
    for heat in range(HOTTEST, 1, -1):
        if hot.count(heat) > left:
            return heat, left
        left -= hot.count(heat)
    return 1, left


def is_current(newer: Candidates, key: bytes, heat: int = 0) -> bool:
    """Whether no newer segment has a record of `key`.

    heat: of this record; one that has taken its place gets it.
    """
    try:
        found = newest(newer, key)
    except CorruptionError:
        return False  # it may be this key's, and then hides what we have
    if found and heat:
        found.segment.hot[found.place] = max(found.segment.hot[found.place], heat)
    return found is None


def current(view: View, segment: Segment, blocks: Iterator[Block]) -> Iterator[Block]:
    """Leave out of the blocks of a segment what newer sealed segments hide.

    What the active one hides stays. When that is finished, the next older record of each of its keys is
    counted as dead; if that record had gone here, the one below it would be counted a second time.
    """
    newer = view.among(view.newer_than(segment))
    for block in blocks:
        yield [item for item in block if is_current(newer, item[0], item[5])]


def ghosts_for(view: View, directory: Directory, take: Take) -> Ghosts:
    """Return the table of ghosts, made anew where there is none or the store has outgrown it."""
    keys = sum(segment.sealed_entry.keys for segment in view.sealed)
    entries = ghosts.entries_for(keys, view.manifest.max_bytes)
    table = view.ghosts
    if table is None or not entries <= table.count <= 4 * entries:
        table = _make(directory, entries, take)
    table.set_memory(keys)
    return table


def _make(directory: Directory, entries: int, take: Take) -> Ghosts:
    files, path = directory.files, directory.path / GHOSTS_NAME
    size = ghosts.size_of(entries)
    directory.discard(path)  # first: both may not fit into the budget
    with directory.made_anew(path) as fd:
        take(fd, size)
        files.allocate(fd, size)
        Ghosts(files.map(fd, size, write=True)).start()
    table = map_ghosts(directory)
    assert table is not None  # it has just been made
    return table
