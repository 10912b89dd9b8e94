"""Merging segments that are neighbours in age into one; everybody reads and writes on meanwhile.

What is left of each key is its newest record. A tombstone, an expired record and what a range tombstone has
deleted go too, but only where no segment older than those merged still has the key: there a tombstone must
go on hiding it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from stratakv import index, manifest
from stratakv.control import Figure
from stratakv.errors import CorruptionError
from stratakv.files import now_ms
from stratakv.log import LogHeader
from stratakv.lookup import newest
from stratakv.maintenance.blocks import (
    Block,
    Item,
    in_key_order,
    merged,
    range_prefixes,
    without,
)
from stratakv.maintenance.early_end import Pace, SupersededError, Take
from stratakv.maintenance.output import Output
from stratakv.manifest import Edit, Entry, SegmentKind
from stratakv.record import COMMIT, TOMBSTONE, TOMBSTONE_EXPIRY, checksum_of, encode
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.view import View
from stratakv.writer_lock import WriterLock

_SAMPLE = 256  # records at most: what they have on average is right to a tenth for most stores


@dataclass(frozen=True, slots=True)
class Job:
    """One merge: what it reads, and what its output is to be.

    inputs: newest first. expected: how many keys the output will have, about. older: segments that may hold
    what tombstones of the output hide, newest first. ranges: the prefixes of the output's range tombstones.
    kind, oldest, newest: those of its entry. floor: where it is not 0, the merge drops everything
    below that rank. swept: what newer segments hide is left out. treated: given where the one input does not
    leave the store yet; returns how many bytes of it are done with, and count as dead.
    """

    inputs: Sequence[Segment]
    expected: int
    older: Sequence[Segment]
    ranges: tuple[bytes, ...]
    kind: SegmentKind
    oldest: int
    newest: int
    floor: int = 0
    swept: bool = False
    treated: Callable[[], int] | None = None


def job_of(view: View, inputs: Sequence[Segment], kind: SegmentKind) -> Job:
    """Return the merge of `inputs`, which follow one another in `view`, in their own place."""
    older = view.older_than(inputs[-1])
    ranges = range_prefixes(inputs) if older else ()
    oldest, newest = inputs[-1].header.oldest, inputs[0].header.newest
    return Job(inputs, sum(map(living_keys, inputs)), older, ranges, kind, oldest, newest)


def living_keys(segment: Segment) -> int:
    """Return how many keys of a sealed segment no newer one has, about.

    From the bytes that live. Those that are dead belong in part to keys that were written again in it.
    """
    entry = segment.sealed_entry
    return min(entry.keys, max(0, entry.size - entry.dead) // _record_bytes(segment))


def _record_bytes(segment: Segment) -> int:
    """Return how long a record is, on average; by a sample where the order of the keys leads to all."""
    order = segment.arrays.order
    if segment.header.ordered or not len(order):
        return max(1, segment.end // max(1, segment.sealed_entry.keys))
    sample = map(segment.record_at, order[:: len(order) // _SAMPLE + 1])
    sizes = [found.end - found.offset for found in sample if found]
    return max(1, sum(sizes) // max(1, len(sizes)))


class Merger:
    """Runs merges of one store; the caller holds maintenance.lock."""

    def __init__(
        self,
        structure: Structure,
        writer_lock: WriterLock,
        pace: Pace,
        take: Take = lambda fd, end: None,
    ) -> None:
        self._structure = structure
        self._writer_lock = writer_lock
        self._pace = pace
        self._take = take

    def run(
        self,
        view: View,
        job: Job,
        blocks: Sequence[Iterator[Block]] | None = None,
        before_install: Callable[[], None] = lambda: None,
    ) -> Entry | None:
        """Do one merge and install it; return the entry of the output, None where nothing is left.

        blocks: of each input, where not all of it counts. before_install: what must be done by then. Raises
        SupersededError where the inputs have gone meanwhile: the store was cleared, or a writer had to drop
        them.
        """
        number = self._take_number()
        try:
            made = self._write(view, job, number, blocks or [self.whole(view, s) for s in job.inputs])
            before_install()
            self._install(job, made)
        except BaseException:
            self._discard(number)
            raise
        # Oldest first: where nothing takes their place, the younger ones say what is deleted in the older.
        for segment in () if job.treated else reversed(job.inputs):
            self._structure.directory.remove(segment.number)
        if made is None:
            self._structure.directory.remove(number)
        return made

    def whole(self, view: View, segment: Segment, blocks: Iterator[Block] | None = None) -> Iterator[Block]:
        """Yield all of a segment for a merge, or what `blocks` have of it, with the heat of its keys."""
        blocks = self._paced(segment, in_key_order(segment) if blocks is None else blocks)
        if view.marks:
            blocks = _with_heat(segment, blocks)
        prefixes = view.hidden.get(segment.number, ())
        return without(blocks, prefixes) if prefixes else blocks

    def _paced(self, segment: Segment, blocks: Iterator[Block]) -> Iterator[Block]:
        """Tell of each block how much of the log it stands for, what it has replaced included."""
        share = segment.end / max(1, segment.sealed_entry.keys)
        for block in blocks:
            yield block
            self._pace(round(len(block) * share))

    def _take_number(self) -> int:
        with self._writer_lock.hold():
            return self._structure.take_number()

    def _write(self, view: View, job: Job, number: int, blocks: Sequence[Iterator[Block]]) -> Entry | None:
        directory, inputs = self._structure.directory, job.inputs
        header = LogHeader(
            number=number,
            oldest=job.oldest,
            newest=job.newest,
            floor=max(job.floor, view.manifest.floor),
            first_link=self._structure.files.random_u32(),
            began=min(segment.header.began for segment in inputs),
            ordered=True,
            main=job.kind == "main",
            ranges=len(job.ranges),
        )
        most = sum(segment.sealed_entry.keys for segment in inputs)
        output = Output(directory, header, job.expected, most, job.ranges, self._take)
        try:
            for block in living(merged(blocks), now_ms(), _Older(view, job.older).has):
                output.write(block)
            if not output.keys and not job.ranges:
                return None
            made = output.finish()
        finally:
            output.close()
        directory.sync()
        self._structure.control.row[Figure.REWRITTEN] += made.size
        if job.swept:
            return made
        were = [segment.sealed_entry for segment in inputs]
        # What of the inputs was dead and has not been dropped is dead still: newer segments hide it.
        hidden = sum(entry.dead for entry in were) - (sum(entry.size for entry in were) - made.size)
        return replace(made, dead=max(0, hidden))

    def _install(self, job: Job, made: Entry | None) -> None:
        drop = {segment.number for segment in job.inputs}
        with self._writer_lock.hold() as held:
            now = [entry for entry in held.view.manifest.segments if entry.number in drop]
            if len(now) < len(drop):
                raise SupersededError
            add = [made] if made else []
            if job.treated:
                add += [replace(entry, dead=job.treated()) for entry in now]
            self._structure.install(held, Edit(drop=drop, add=tuple(add), floor=job.floor))

    def _discard(self, number: int) -> None:
        """Remove an unfinished output, unless the manifest on disk has it already, or cannot tell."""
        with suppress(CorruptionError):  # what ended the merge says more; the next to be elected tidies up
            if number not in manifest.load(self._structure.directory).numbers():
                self._structure.directory.remove(number)


class _Older:
    """The segments that are older than those merged."""

    def __init__(self, view: View, segments: Sequence[Segment]) -> None:
        self._view = view
        self._segments = view.among(segments)

    def has(self, key: bytes) -> bool:
        """Whether one of them has a record of `key` that would show if nothing hid it."""
        try:
            found = newest(self._segments, key)
        except CorruptionError:
            return True  # it may be this key's
        return found is not None and not self._view.hides(found.segment, key)


def living(blocks: Iterable[Block], now: int, is_older: Callable[[bytes], bool]) -> Iterator[Block]:
    """Yield the newest record of each key: if live, or as a tombstone where an older one must be hidden.

    now: milliseconds since the epoch.
    """
    last = b""
    for block in blocks:
        kept = []
        for item in block:
            key, expiry = item[0], item[4]
            if key == last:
                continue
            last = key
            if not expiry or expiry > now:  # `is_live`, written out: it runs for each record
                kept.append(item)
            elif is_older(key):
                kept.append(_tombstone(key))
        yield kept


def _tombstone(key: bytes) -> Item:
    body = encode(TOMBSTONE | COMMIT, key, b"", TOMBSTONE_EXPIRY)
    return key, body, 0, checksum_of(body), TOMBSTONE_EXPIRY, 0


def _with_heat(segment: Segment, blocks: Iterator[Block]) -> Iterator[Block]:
    """Give the items of a segment the heat that their keys have in its index."""
    for block in blocks:
        # `warmed` and `heat_in`, written out: this runs for each record that is merged.
        yield [(*item[:5], index.heat_of(segment.arrays, item[0], item[2])) for item in block]
