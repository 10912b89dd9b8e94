"""Writing what is sound of a broken log to a new one, whatever damage lies between.

A value may hold what looks like a record: where the record around it is damaged, that is taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass

from stratakv import record
from stratakv.directory import Directory
from stratakv.errors import StorageError
from stratakv.log import HEADER_BYTES
from stratakv.manifest import Entry
from stratakv.record import END, RANGE
from stratakv.recovery.examine import Examined, header_of
from stratakv.rewrite import LogWriter


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The new log: its size in bytes, its records and range tombstones, and how many keys they have."""

    size: int
    records: int
    keys: int
    ranges: int


def salvage(directory: Directory, entry: Entry, examined: Examined, number: int) -> Salvaged:
    """Write every sound record of the log to a new one, `number`, which stands for the same; durable."""
    segment = examined.segment
    sound = [
        found
        for found in record.search(segment.log, segment.view, HEADER_BYTES, examined.limit)
        if found.kind != END
    ]
    ranges = [found.key for found in sound if found.kind == RANGE]
    first_link = directory.files.random_u32()
    header = header_of(entry, number, segment.header.floor, first_link, len(ranges))
    output = LogWriter(directory, header)
    try:
        output.delete_ranges(ranges)
        for found in sound:
            if found.kind != RANGE:
                output.move(segment, found)
        output.end()
        output.finish()
    except StorageError:
        directory.remove(number)  # a full disk must not fill up with attempts
        raise
    finally:
        output.close()
    keys = len({found.key for found in sound if found.kind != RANGE})
    return Salvaged(output.size, output.keys, keys, len(ranges))


def finds_more(examined: Examined) -> bool:
    """Whether salvage would find more than the walk did."""
    segment = examined.segment
    return next(record.search(segment.log, segment.view, examined.whole, examined.limit), None) is not None
