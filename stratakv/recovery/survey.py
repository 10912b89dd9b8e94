"""Which logs should be the store: as the manifest says or, where that is lost, as the logs themselves do."""

from __future__ import annotations

from dataclasses import dataclass

from stratakv import record
from stratakv.directory import OLD_MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError
from stratakv.interrupted import check_refused
from stratakv.log import HEADER_BYTES, LogHeader, rank_of
from stratakv.manifest import Entry, Manifest, decode
from stratakv.record import END
from stratakv.recovery.examine import examine, open_anyhow
from stratakv.segment import Segment
from stratakv.segment_files import open_log


@dataclass(frozen=True, slots=True)
class Survey:
    """The logs that should be there, oldest first, and what the manifest is to say besides.

    An entry without a size may end in a torn tail. floor: None where no manifest tells. unreadable: numbers
    of the files that are named like logs and tell nothing of themselves. unwanted: numbers of logs that go,
    whatever they are.
    """

    entries: tuple[Entry, ...]
    generation: int
    next_number: int
    floor: int | None
    max_bytes: int
    rebuilt: bool
    unreadable: tuple[int, ...] = ()
    unwanted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    entry: Entry
    floor: int


def from_manifest(directory: Directory, found: Manifest) -> Survey:
    """Return the manifest's segments, with the active one as the last."""
    return Survey(
        entries=(*reversed(found.segments), _original(found.active)),
        generation=found.generation,
        next_number=directory.free_number(found.next_number),
        floor=found.floor,
        max_bytes=found.max_bytes,
        rebuilt=False,
    )


def from_logs(directory: Directory, *, salvage: bool) -> Survey:
    """Find the segments by the logs' own headers, and what these do not say in the manifest before.

    salvage: take an unfinished log that was written from others, too, where those are gone.
    """
    before = _manifest_before(directory)
    numbers = directory.numbers("log")
    candidates = [(number, _candidate(directory, number, before)) for number in numbers]
    found = [candidate for _, candidate in candidates if candidate]
    known = {entry.number for entry in before.segments}
    # An unfinished log has not replaced any other yet, whatever its header says.
    whole = [each for each in found if each.entry.number in known or _is_whole(directory, each, found)]
    floor = max([before.floor, *(each.floor for each in whole)])
    above = [each.entry for each in whole if each.entry.newest >= floor]
    living = [entry for entry in above if not any(_replaces(other, entry) for other in above)]
    if salvage:
        torn = [each.entry for each in found if each not in whole and each.entry.newest >= floor]
        living += [each for each in torn if not any(_replaces(each, entry) for entry in living)]
    return Survey(
        entries=tuple(sorted(living, key=lambda entry: entry.newest)),
        generation=before.generation,
        next_number=directory.free_number(before.next_number),
        floor=None,
        max_bytes=before.max_bytes,
        rebuilt=True,
        unreadable=tuple(number for number, candidate in candidates if candidate is None),
    )


def empty(directory: Directory) -> Survey:
    """Return the survey of a store that begins anew: none of the logs that are there belongs to it."""
    before, numbers = _manifest_before(directory), directory.numbers("log")
    return Survey(
        entries=(),
        generation=before.generation,
        next_number=directory.free_number(before.next_number),
        floor=None,  # which is then above whatever was there
        max_bytes=before.max_bytes,
        rebuilt=True,
        unwanted=tuple(numbers),
    )


def _manifest_before(directory: Directory) -> Manifest:
    """Return the manifest before the one that is lost; an empty one where that is lost, too."""
    try:
        return decode(directory.files.read_all(directory.path / OLD_MANIFEST_NAME))
    except (OSError, ValueError, TypeError, KeyError) as problem:
        check_refused(problem)
        return Manifest(generation=0, active=0, next_number=1)


def _candidate(directory: Directory, number: int, before: Manifest) -> _Candidate | None:
    """Return what is known of one log; None where that is too little to give it a place."""
    known = next((entry for entry in before.segments if entry.number == number), None)
    try:
        segment = open_log(directory, number, write=False)
    except CorruptionError:
        entry = known or _by_its_records(directory, number)
        return _Candidate(entry, 0) if entry else None
    header = segment.header
    if known and (known.oldest, known.newest) == (header.oldest, header.newest):
        return _Candidate(known, header.floor)
    size = 0 if header.is_original else segment.end
    return _Candidate(Entry.of(header, size, keys=0, synced=0), header.floor)


def _original(number: int) -> Entry:
    """Return the entry of a log that writers wrote, of which no more is known than its number."""
    rank = rank_of(number)
    return Entry(number, "young", rank, rank, size=0, keys=0, synced=0)


def _by_its_records(directory: Directory, number: int) -> Entry | None:
    """Return the entry of a log that writers wrote and that has only its records to show for it."""
    entry = _original(number)
    with directory.open(directory.log_path(number), write=False) as file:
        if LogHeader.unpack(directory.files.pread(file.fileno(), HEADER_BYTES, 0)):
            return None  # the header is sound, and that of another log
    try:
        found = examine(directory, entry, 0)
    except CorruptionError:
        return None
    if not found.records or _ends(found.segment):
        return None
    return entry


def _is_whole(directory: Directory, candidate: _Candidate, found: list[_Candidate]) -> bool:
    """Whether writers wrote a log, or it was written from others and is finished.

    The END record alone does not prove that, as it may be on disk before what stands in the middle. So while
    the logs it was written from are still there, all of it must be sound, else they are the better choice.
    Once they are gone, it was finished, and a break in it is damage.
    """
    entry = candidate.entry
    if entry.is_original:
        return True
    segment, _ = open_anyhow(directory, entry, 0)
    if not _ends(segment):
        return False
    return not any(_replaces(entry, other.entry) for other in found) or _is_sound(segment)


def _is_sound(segment: Segment) -> bool:
    try:
        for _ in segment.records():
            pass
    except CorruptionError:
        return False
    return True


def _ends(segment: Segment) -> bool:
    last = segment.record_at(max(0, segment.end - record.HEADER_BYTES))
    return last is not None and last.kind == END


def _replaces(one: Entry, other: Entry) -> bool:
    """Whether `one` was written from a range of segments to which `other` belongs."""
    within = one.oldest <= other.oldest and other.newest <= one.newest
    return within and other.number < one.number and not one.is_original
