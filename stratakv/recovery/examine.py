"""Examining one log: how far its chain of records is sound, and what lies behind. Nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from stratakv import record
from stratakv.directory import Directory
from stratakv.errors import CorruptionError
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Entry
from stratakv.record import RANGE, TOMBSTONE
from stratakv.segment import Segment
from stratakv.segment_files import open_log

_STEP_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Examined:
    """What one log was found to hold.

    header_damaged: its own header is not sound, and `segment` has one made from what else is known.
    limit: where the log should end. whole: where its last whole commit ends, as far as the chain is sound.
    last: where its last byte ends that is not 0. records, keys, ranges: counts of what is whole.
    """

    segment: Segment
    header_damaged: bool
    limit: int
    whole: int
    last: int
    records: int
    keys: int
    ranges: int


def examine(directory: Directory, entry: Entry, floor: int) -> Examined:
    """Walk a log as far as its chain is sound; CorruptionError where it is shorter than a header."""
    segment, header_damaged = open_anyhow(directory, entry, floor)
    limit = min(segment.end, entry.size or segment.files.data_end(segment.fd))
    whole, records, ranges = HEADER_BYTES, 0, 0
    keys: set[bytes] = set()
    pending: list[bytes] = []  # the keys of a commit whose end has not come yet, and may never
    for found in record.walk(segment.log, segment.view, HEADER_BYTES, segment.header.first_link, limit):
        if found.kind <= TOMBSTONE:
            pending.append(found.key)
        ranges += found.kind == RANGE
        if found.commit or entry.ordered:
            whole = found.end
            records += len(pending)
            keys.update(pending)
            pending.clear()
    last = _last_byte(segment, whole)
    return Examined(segment, header_damaged, limit, whole, last, records, len(keys), ranges)


def open_anyhow(directory: Directory, entry: Entry, floor: int) -> tuple[Segment, bool]:
    """Open a log even if its header is damaged; return it, and whether that is so."""
    with suppress(CorruptionError):
        return open_log(directory, entry.number, write=True), False
    path = directory.log_path(entry.number)
    file = directory.open(path, write=True)
    try:
        size = directory.files.size(file.fileno())
        if size < HEADER_BYTES:
            raise CorruptionError(path, size, "the log is shorter than its header")
        # The first record knows what its link must be.
        first_link = int.from_bytes(directory.files.pread(file.fileno(), 4, HEADER_BYTES + 8), "little")
    except BaseException:
        file.let_go()
        raise
    return Segment(directory, file, header_of(entry, entry.number, floor, first_link), size, None), True


def header_of(entry: Entry, number: int, floor: int, first_link: int, ranges: int = 0) -> LogHeader:
    """Return the header of a log that holds, or again holds, what `entry` stands for."""
    main = entry.kind == "main"
    return LogHeader(
        number,
        entry.oldest,
        entry.newest,
        floor,
        first_link,
        entry.began,
        entry.ordered,
        main,
        ranges=ranges,
    )


def _last_byte(segment: Segment, start: int) -> int:
    """Return where the last byte of a log ends that is not 0; `start` where there is none behind it."""
    end = segment.files.data_end(segment.fd)
    while end > start:
        step = max(start, end - _STEP_BYTES)
        found = len(segment.log[step:end].rstrip(b"\0"))
        if found:
            return step + found
        end = step
    return start


def written(directory: Directory, number: int) -> int:
    """Return up to where anything was written to a log; 0 for one that has no sound header."""
    try:
        segment = open_log(directory, number, write=False)
    except (FileNotFoundError, CorruptionError):
        return 0
    return _last_byte(segment, HEADER_BYTES)


def is_empty(directory: Directory, number: int) -> bool:
    """Whether a log holds no record that tells of a write, sound or not; a missing one holds none."""
    try:
        segment = open_log(directory, number, write=False)
    except FileNotFoundError:
        return True
    except CorruptionError:
        return not directory.files.read_all(directory.log_path(number)).rstrip(b"\0")
    end = HEADER_BYTES
    for found in record.walk(segment.log, segment.view, end, segment.header.first_link, segment.end):
        if found.kind != RANGE:
            return False
        end = found.end
    return _last_byte(segment, end) <= end


def is_written(directory: Directory, number: int) -> bool:
    """Whether writers wrote a log, and more into it than what it began with."""
    try:
        segment = open_log(directory, number, write=False)
    except CorruptionError:
        return False
    count, end = segment.added()
    torn = count == 0 and _last_byte(segment, end) > end
    return segment.header.is_original and (count > 0 or torn)
