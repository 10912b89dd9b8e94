"""A consistent copy of a store, taken while others read and write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from stratakv import manifest
from stratakv.arguments import absolute
from stratakv.control import start_control
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, DirectoryError, reported
from stratakv.index import occupied
from stratakv.interrupted import unless_refused
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Entry, Manifest
from stratakv.opening import begin_empty
from stratakv.progress import Progress
from stratakv.record import HEADER_BYTES as RECORD_HEADER_BYTES
from stratakv.segment import Segment
from stratakv.snapshots import Snapshot, Snapshots

_STEP_RECORDS = 4096


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was copied, and where to; `log_bytes` in bytes."""

    path: str
    segments: int
    log_bytes: int


def backup(
    snapshots: Snapshots,
    target: str | os.PathLike[str],
    segment_bytes: int,
    progress: Progress,
) -> BackupReport:
    """Copy the store as it is at this moment to the directory `target`, which must be new or empty.

    No lock is needed: sealed logs never change, and of the active one what lies below the tip does not
    either. The copy is a complete store, durable when this returns; where it raises, nothing is left of it.
    Raises CorruptionError where a log is damaged: the copy, which has no indexes yet, would not open.
    """
    directory = snapshots.views.directory
    files, path = directory.files, absolute(target)
    if files.real(path).is_relative_to(files.real(directory.path)):
        raise DirectoryError(f"{path} lies inside the store itself; name a directory elsewhere")
    copy = Directory(path, files, directory.mode)
    made = copy.enter(create=True)
    with reported(copy.path):
        if files.names(copy.path):
            raise DirectoryError(f"{copy.path} is not empty; name a new or an empty directory for the backup")
        try:
            return _copy(snapshots.take(), copy, segment_bytes, progress)
        except BaseException:
            _remove(copy, made=made)
            raise


def _remove(copy: Directory, *, made: bool) -> None:
    """Remove what there is of a copy that was given up, and its directory if that was made for it."""
    files = copy.files
    for name in files.names(copy.path):
        copy.discard(copy.path / name)
    if made:
        with unless_refused():  # an empty directory is in nobody's way
            files.remove_folder(copy.path)


def _copy(snapshot: Snapshot, copy: Directory, segment_bytes: int, progress: Progress) -> BackupReport:
    view, tip = snapshot
    number = view.manifest.next_number
    # Others put on meanwhile, so there may be more slots by now than records below the tip.
    most = (tip - view.active.start) // RECORD_HEADER_BYTES
    active = Entry.of(view.active.header, tip, min(occupied(view.active.arrays), most), tip)
    segments = {segment: segment.entry or active for segment in view.segments()}
    if tip == HEADER_BYTES:
        del segments[view.active]
    _copy_logs(copy, segments, progress)
    floor, max_bytes = view.manifest.floor, view.manifest.max_bytes
    begun = begin_empty(copy, number, floor, segment_bytes, max_bytes)
    # Each log of the copy has been synced, whatever became of the one it was copied from.
    entries = tuple(
        replace(entry, synced=entry.size, poisoned=False, finished=entry.ordered)
        for entry in segments.values()
    )
    copied = Manifest(1, number, number + 1, floor, max_bytes, entries)
    manifest.install(copy, copied)
    start_control(copy, copied, begun.first_link)
    copy.write_format()
    return BackupReport(str(copy.path), len(segments), sum(entry.size for entry in entries))


def _copy_logs(copy: Directory, segments: dict[Segment, Entry], progress: Progress) -> None:
    total = sum(entry.size for entry in segments.values())
    done = 0
    for segment, entry in segments.items():
        with reported(segment.path):
            for offset in _checked(segment, entry.size):
                progress(done + offset, total)
        done += entry.size
        path = copy.log_path(segment.number)
        with reported(path), copy.open(path, write=True, create=True) as file:
            copy.files.copy(segment.fd, file.fileno(), entry.size, partial(progress, done, total))
            copy.files.fdatasync(file.fileno())


def _checked(segment: Segment, end: int) -> Iterator[int]:
    """Yield now and then how far a log is sound; raises CorruptionError where it is not."""
    if segment.files.size(segment.fd) < end:
        raise CorruptionError(segment.path, end, "the log is cut short")
    if LogHeader.unpack(segment.log[:HEADER_BYTES]) != segment.header:
        raise CorruptionError(segment.path, 0, "the header of the log is not sound")
    for found in islice(segment.records(end), 0, None, _STEP_RECORDS):
        yield found.offset
