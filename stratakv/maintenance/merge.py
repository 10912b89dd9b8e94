"""Merging segments into one, off the writer lock: everybody reads and writes on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stratakv import manifest
from stratakv.build import build_index
from stratakv.commit import Exclusive
from stratakv.control import OFFSET_MASK, W_TIP
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Edit, Entry
from stratakv.orphans import remove_orphans
from stratakv.progress import Progress
from stratakv.reader import now_ms
from stratakv.record import Record
from stratakv.rewrite import LogWriter
from stratakv.segment import Segment, open_log
from stratakv.structure import Structure
from stratakv.versions import Source, live

_STEP_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did. Sizes are of logs, in bytes; `records` counts what is left."""

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    records: int


def compact(structure: Structure, exclusive: Exclusive, progress: Progress | None) -> CompactionReport:
    """Merge all segments into one that holds each live key once; the caller holds maintenance.lock."""
    with exclusive as held:
        if structure.control.words[W_TIP] & OFFSET_MASK > HEADER_BYTES:
            structure.rotate(held)
        inputs = held.view.sealed
        # Nobody makes a segment now, so what the manifest does not name was left by somebody who died.
        remove_orphans(structure.directory, held.view.manifest)
        number = structure.take_number()
    before = sum(segment.end for segment in inputs)
    if not inputs or (len(inputs) == 1 and _is_clean(inputs[0])):
        return CompactionReport(len(inputs), len(inputs), before, before, _keys(inputs))
    try:
        entry = _merge(structure, inputs, number, progress)
        drop = {segment.number for segment in inputs}
        with exclusive as held:
            if not drop <= held.view.manifest.numbers():  # cleared meanwhile
                structure.directory.remove(number)
                return CompactionReport(len(inputs), len(held.view.sealed), before, 0, 0)
            structure.install(held, Edit(drop=drop, add=(entry,) if entry.keys else ()))
    except BaseException:
        _discard(structure, number)
        raise
    for dropped in drop if entry.keys else drop | {number}:
        structure.directory.remove(dropped)
    kept = 1 if entry.keys else 0
    return CompactionReport(len(inputs), kept, before, entry.size if kept else 0, entry.keys)


def _discard(structure: Structure, number: int) -> None:
    """Remove an unfinished output, unless the manifest on disk has it already."""
    if number not in manifest.load(structure.directory).numbers():
        structure.directory.remove(number)


def _is_clean(segment: Segment) -> bool:
    """Whether a merge of this segment alone would change nothing: compacted, and nothing has expired."""
    if segment.entry is None or segment.entry.kind != "main":
        return False
    now = now_ms()
    return all(not found.expiry or found.expiry > now for found in segment.records())


def _keys(segments: tuple[Segment, ...]) -> int:
    return sum(segment.entry.keys for segment in segments if segment.entry)


def _merge(
    structure: Structure, inputs: tuple[Segment, ...], number: int, progress: Progress | None
) -> Entry:
    """Write the merged log and its index, durably, and return the manifest's entry for them."""
    directory = structure.directory
    header = LogHeader(
        number=number,
        oldest=min(segment.header.oldest for segment in inputs),
        newest=max(segment.header.newest for segment in inputs),
        floor=max(segment.header.floor for segment in inputs),
        first_link=structure.files.random_u32(),
        ordered=True,
    )
    output = LogWriter(directory, header)
    try:
        # Tombstones and expired records may go only because the oldest segment is merged, too: otherwise
        # an older version of their key would come back.
        for segment, found in live(_told(inputs, progress), now_ms()):
            output.move(segment, found)
        output.end()
        output.finish()
        entry = Entry(number, "main", header.oldest, header.newest, output.size, output.keys, output.size)
    finally:
        output.close()
    if entry.keys:
        build_index(directory, open_log(directory, number, entry, write=True), None, write=True)
    directory.sync()
    return entry


def _told(inputs: tuple[Segment, ...], progress: Progress | None) -> Iterator[Source]:
    """Yield the segments as sources of a merge that tell `progress` how much of them has been read."""
    total = sum(segment.end for segment in inputs)
    done = told = 0

    def reading(segment: Segment) -> Iterator[Record]:
        nonlocal done, told
        for found in segment.in_order(b""):
            yield found
            done += found.end - found.offset
            if progress and done - told >= _STEP_BYTES:
                told = done
                progress(done, total)

    for segment in inputs:
        yield segment, reading(segment)
