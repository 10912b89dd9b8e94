"""What is kept of a segment that is given up for the budget.

Such a segment is retired: some of its records move on into another segment, and the rest are evicted. Two
tasks of the plan do this: "retire" to a young segment, "evict" to a main one.

A record moves when it was read and is still its key's current version. One that came into its young segment
as a ghost counts as read, and so does one that has replaced a version that was: what each request reads and
then writes again, as a session, would never be read itself. A young segment's reads are forgotten on the way
into the main segments; a main segment's are counted down by one. Keys that go from a young segment become
ghosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from stratakv import ghosts
from stratakv.directory import GHOSTS_NAME, Directory
from stratakv.errors import CorruptionError, reported
from stratakv.ghosts import Ghosts
from stratakv.index import HOTTEST, hash_key
from stratakv.lookup import newest
from stratakv.maintenance.blocks import Block, Item, heat_in, hiding, in_key_order, range_prefixes, warmed
from stratakv.maintenance.early_end import Take
from stratakv.maintenance.merge import Job
from stratakv.maintenance.plan import generations
from stratakv.opening import map_ghosts
from stratakv.record import is_live
from stratakv.segment import Segment
from stratakv.view import View


def job_of_main(view: View, inputs: Sequence[Segment]) -> Job:
    """Return the job that retires the oldest segment, the last of `inputs`.

    What moves becomes the newest of the main segments, so that it is a whole round until it is asked again.
    The floor tells whoever finds the logs alone that the old place is void.
    """
    oldest = inputs[-1]
    assert oldest is view.sealed[-1]
    young, _ = generations(view.manifest.segments)
    main = view.sealed[len(young) :]
    if len(main) == 1:
        return Job(inputs, (), (), "main", oldest.header.oldest, oldest.header.newest)  # in its own place
    rank = main[0].header.newest + 1
    no_room = rank >= (young[-1].oldest if young else view.active.header.oldest)
    joined = main[:1] if no_room else inputs[:-1]
    lowest, highest = (joined[-1].header.oldest, joined[0].header.newest) if joined else (rank, rank)
    between = [segment for segment in main if segment is not oldest and segment not in joined]
    # Nothing is older than what is retired, so its own range tombstones hide nothing.
    ranges = range_prefixes(joined) if between else ()
    return Job((*joined, oldest), between, ranges, "main", lowest, highest, oldest.header.newest + 1)


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
        """Yield what moves, and as tombstones what may have to hide an older version."""
        older = self._view.sealed[self._view.sealed.index(segment) + 1 :]
        for block in in_key_order(segment):
            moved = []
            for item in block:
                heat = heat_in(segment, item) or self._taken_over(older, item[0])
                if heat and self._moves(segment, item, heat):
                    moved.append(warmed(item, 0))
                else:
                    self.keys += 1
                    self._ghosts.add(hash_key(item[0])[0])
                    moved.append(hiding(item))
            yield moved

    def _taken_over(self, older: Sequence[Segment], key: bytes) -> int:
        """Return the heat of the version that was the key's before this one."""
        try:
            found = newest(older, key)
        except CorruptionError:
            return 0
        heat: int = found.segment.hot[found.place] if found else 0
        if found and heat:
            self._gave.append((found.segment, found.place))
        return heat

    def of_main(self, segment: Segment) -> Iterator[Block]:
        """Yield what moves.

        Where there is nothing but main segments, that is three quarters at most, the hottest: readers of all
        of a store that is too large would have it rewritten for ever.
        """
        young, _ = generations(self._view.manifest.segments)
        least, left = (1, len(segment.hot)) if young else _least(segment)
        for block in in_key_order(segment):
            moved = []
            for item in block:
                heat = heat_in(segment, item)
                chosen = heat > least or (heat == least and left > 0)
                if chosen and self._moves(segment, item, heat):
                    moved.append(warmed(item, heat - 1))
                    left -= heat == least
                else:
                    self.keys += 1
            if moved:
                yield moved

    def _moves(self, segment: Segment, item: Item, heat: int) -> bool:
        """Whether this is the live and current version of the key; a newer one gets the heat."""
        key, expiry = item[0], item[4]
        if not is_live(expiry, self._now) or self._view.hides(segment, key):
            return False
        return is_current(self._view.segments(), segment, key, heat)


def _least(segment: Segment) -> tuple[int, int]:
    """Return the least heat with which a key may move, and how many may that have no more."""
    hot = bytes(segment.hot)
    left = max(1, segment.sealed_entry.keys * 3 // 4)
    for heat in range(HOTTEST, 1, -1):
        if hot.count(heat) > left:
            return heat, left
        left -= hot.count(heat)
    return 1, left


def is_current(segments: Iterable[Segment], segment: Segment, key: bytes, heat: int = 0) -> bool:
    """Whether none of `segments`, newest first, that is newer than `segment` has a record of `key`.

    heat: of this record; one that has taken its place gets it.
    """
    try:
        newer = newest(takewhile(lambda each: each is not segment, segments), key)
    except CorruptionError:
        return False  # it may be this key's, and then hides what we have
    if newer and heat:
        newer.segment.hot[newer.place] = max(newer.segment.hot[newer.place], heat)
    return newer is None


def current(view: View, segment: Segment, blocks: Iterator[Block]) -> Iterator[Block]:
    """Leave out of the blocks of a segment what newer sealed segments hide.

    What the active one hides stays. When that is finished, the next older record of each of its keys is
    counted as dead; if that record had gone here, the one below it would be counted a second time.
    """
    for block in blocks:
        yield [item for item in block if is_current(view.sealed, segment, item[0], item[5])]


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
    temporary = path.with_suffix(".tmp")
    with reported(path):
        files.unlink(temporary)
        files.unlink(path)  # first: both may not fit into the budget
        fd = directory.open(temporary, write=True, create=True)
        try:
            size = ghosts.size_of(entries)
            take(fd, size)
            files.allocate(fd, size)
            Ghosts(files.map(fd, size, write=True)).start()
        finally:
            files.close(fd)
        files.rename(temporary, path)
    table = map_ghosts(directory)
    assert table is not None  # it has just been made
    return table
