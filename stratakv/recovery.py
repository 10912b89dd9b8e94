"""Bringing a store back from its logs: after a reboot by itself, and whenever asked by `recover`.

What survives is a prefix of what was acknowledged. Segments are gone through oldest first. At the first
place where the chain of sound records breaks, a young log is cut behind its last whole commit, and all
younger segments go. A break before a position that was on disk is damage rather than a torn tail; the
mode decides:

    point-in-time   cut there all the same, and say what was lost
    strict          change nothing, raise CorruptionError
    salvage         keep every sound record, whatever lies before it

A log in key order has no order of time to cut by: of it, every sound record is kept in either mode but
`strict`. Indexes and CONTROL are always made anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stratakv import manifest, record
from stratakv.budget import segment_capacity
from stratakv.control import W_SYNCED, bytes_below, open_control, start_control
from stratakv.directory import MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError, DirectoryError, storage_error
from stratakv.files import now_ms
from stratakv.log import HEADER_BYTES, LogHeader, rank_of
from stratakv.manifest import Entry, Manifest
from stratakv.opening import young_keys
from stratakv.orphans import remove_orphans, remove_temporary
from stratakv.progress import Progress
from stratakv.record import END, RANGE, TOMBSTONE
from stratakv.recovery_report import Finding, Mode, RecoveryReport
from stratakv.rewrite import LogWriter
from stratakv.segment import Segment, create_active, open_log


@dataclass(slots=True)
class _Scan:
    """What one log was found to hold, as far as its chain is sound."""

    segment: Segment
    limit: int  # where the log should end
    whole: int  # where its last whole commit ends
    records: int
    keys: int
    ranges: int


class Recovery:
    """One run over a directory that nobody else has open."""

    def __init__(
        self, directory: Directory, segment_bytes: int, mode: Mode, progress: Progress | None = None
    ) -> None:
        self._directory = directory
        self._files = directory.files
        self._segment_bytes = segment_bytes
        self._mode = mode
        self._progress = progress
        self._findings: list[Finding] = []
        self._damage = False
        self._records = 0
        self._next = 1

    def run(self, found: Manifest | None, *, trust: bool) -> RecoveryReport:
        """Recover from the manifest `found`, or from the logs alone where there is none.

        trust: leave alone what the manifest knows to be on disk, as after a mere reboot.
        """
        numbers = self._directory.numbers("log")
        self._next = max([*numbers, found.next_number - 1 if found else 0]) + 1
        expected = self._from_manifest(found) if found else self._from_headers(numbers)
        kept = self._go_through(expected, trust)
        self._install(found, kept)
        return RecoveryReport(
            mode=str(self._mode),
            manifest_rebuilt=found is None,
            segments=len(kept),
            records=self._records,
            damage=self._damage,
            findings=tuple(self._findings),
        )

    def _note(self, number: int, offset: int, what: str, lost_bytes: int, *, damage: bool) -> None:
        """Record a finding; in mode "strict", damage ends the run before anything is changed."""
        path = self._directory.log_path(number)
        if damage and self._mode is Mode.STRICT:
            raise CorruptionError(path, offset, what)
        self._damage |= damage
        self._findings.append(Finding(path.name, offset, what, lost_bytes))

    # -- which logs there should be ----------------------------------------------------------------------

    def _from_manifest(self, found: Manifest) -> list[Entry]:
        """Return the manifest's segments, oldest first, with the active one as the last."""
        rank = rank_of(found.active)
        return [*reversed(found.segments), Entry(found.active, "young", rank, rank, 0, 0, 0)]

    def _synced(self) -> int:
        """The position up to which everything was on disk: that was true when it was written to CONTROL."""
        try:
            return open_control(self._directory, write=False).words[W_SYNCED]
        except FileNotFoundError:
            return 0

    def _from_headers(self, numbers: list[int]) -> list[Entry]:
        """Tell the segments from the logs' own headers, oldest first."""
        self._damage = True
        self._findings.append(Finding(MANIFEST_NAME, 0, "lost or damaged; rebuilt from the logs", 0))
        headers = []
        for number in numbers:
            try:
                headers.append(open_log(self._directory, number, None, write=False).header)
            except CorruptionError as damage:
                self._note(number, damage.offset, damage.reason, 0, damage=True)
        if not headers:
            raise DirectoryError(f"{self._directory.path} has no StrataKV log: there is nothing to recover")
        # What an unfinished log says of the others was never true.
        whole = [header for header in headers if header.is_original or self._is_whole(header)]
        floor = max((header.floor for header in whole), default=0)
        whole = [header for header in whole if header.newest >= floor]
        return [
            self._entry_of(h)
            for h in sorted(whole, key=lambda header: header.newest)
            if not any(_replaces(other, h) for other in whole)
        ]

    def _entry_of(self, header: LogHeader) -> Entry:
        return Entry(
            number=header.number,
            kind="main" if header.main else "young",
            oldest=header.oldest,
            newest=header.newest,
            size=self._size(header),
            keys=0,
            synced=0,
            began=header.began,
            ordered=header.ordered,
            finished=header.ordered,
        )

    def _size(self, header: LogHeader) -> int:
        """Size of a log that was written from others; 0 for one that may end in a torn tail."""
        if header.is_original:
            return 0
        return self._files.stat(self._directory.log_path(header.number)).st_size

    def _is_whole(self, header: LogHeader) -> bool:
        """Whether a log that was written from others ends as a finished one does."""
        segment = open_log(self._directory, header.number, None, write=False)
        last = segment.record_at(max(0, segment.end - record.HEADER_BYTES))
        return last is not None and last.kind == END

    # -- what is in them ---------------------------------------------------------------------------------

    def _go_through(self, expected: list[Entry], trust: bool) -> list[Entry]:
        """Return the entries to keep, oldest first, with their logs brought in order."""
        kept: list[Entry] = []
        done, total = 0, sum(entry.size for entry in expected)
        cut = False
        synced = self._synced()
        for entry in expected:
            if cut:
                self._note(
                    entry.number, 0, "dropped: younger than the break before it", entry.size, damage=False
                )
            elif trust and 0 < entry.size == entry.synced and not entry.poisoned:
                kept.append(entry)
            else:
                mended, cut = self._mend(_known(entry, synced))
                kept += [mended] if mended else []
            done += entry.size
            if self._progress:
                self._progress(done, total)
        return kept

    def _mend(self, entry: Entry) -> tuple[Entry | None, bool]:
        """Bring one log in order: return its entry, if any is left, and whether younger logs must go."""
        breaks = self._mode is not Mode.SALVAGE and not entry.ordered and not entry.poisoned
        try:
            scan = self._scan(entry)
        except (FileNotFoundError, CorruptionError) as problem:
            reason = problem.reason if isinstance(problem, CorruptionError) else "the file is missing"
            self._note(entry.number, 0, reason, entry.size, damage=entry.synced > 0)
            return None, breaks and entry.size > 0
        expected = max(entry.synced, entry.size)
        if scan.whole >= expected and not self._sound_beyond(scan):
            self._cut(scan)
            return self._entry(entry, scan), False
        damage = scan.whole < entry.synced or entry.ordered
        lost = max(0, expected - scan.whole) if breaks else 0
        self._note(entry.number, scan.whole, "the chain of sound records breaks", lost, damage=damage)
        if not breaks and not entry.poisoned:
            return self._salvage(entry, scan), False
        self._cut(scan)
        return self._entry(entry, scan), breaks and entry.size > 0

    def _scan(self, entry: Entry) -> _Scan:
        """Walk a log as far as its chain is sound."""
        segment = self._open(entry)
        limit = min(segment.end, entry.size or segment.end)
        scan = _Scan(segment, limit, HEADER_BYTES, 0, 0, 0)
        keys: set[bytes] = set()
        pending = 0
        for found in record.walk(segment.log, segment.view, HEADER_BYTES, segment.header.first_link, limit):
            if found.kind <= TOMBSTONE:
                pending += 1
                keys.add(found.key)
            scan.ranges += found.kind == RANGE
            if found.commit or entry.ordered:
                scan.whole = found.end
                scan.records += pending
                pending = 0
        scan.keys = len(keys)
        return scan

    def _open(self, entry: Entry) -> Segment:
        """Open a log; where only its header is damaged, write that anew from what else is known."""
        try:
            return open_log(self._directory, entry.number, None, write=True)
        except CorruptionError as damage:
            if damage.offset:
                raise
            self._note(entry.number, 0, damage.reason, 0, damage=entry.synced > 0)
        path = self._directory.log_path(entry.number)
        fd = self._directory.open(path, write=True)
        try:
            # The first record knows what its link must be.
            first_link = int.from_bytes(self._files.pread(fd, 4, HEADER_BYTES + 8), "little")
            header = _header(entry, entry.number, 0, first_link, 0)
            self._files.write_all(fd, header.pack(), 0)
        except OSError as cause:
            raise storage_error(path, cause) from cause
        finally:
            self._files.close(fd)
        return open_log(self._directory, entry.number, None, write=True)

    def _sound_beyond(self, scan: _Scan) -> bool:
        """Whether salvage would find more than the walk did."""
        if self._mode is not Mode.SALVAGE:
            return False
        return (
            next(record.search(scan.segment.log, scan.segment.view, scan.whole, scan.limit), None) is not None
        )

    def _entry(self, entry: Entry, scan: _Scan) -> Entry | None:
        """Return the entry of a log that now ends at its last whole commit; None where it holds nothing."""
        self._records += scan.records
        if scan.whole == HEADER_BYTES:
            return None
        return _kept(entry, entry.number, scan.whole, scan.keys)

    def _cut(self, scan: _Scan) -> None:
        """End a log behind its last whole commit, durably."""
        segment = scan.segment
        torn = segment.log[scan.whole : scan.limit].rstrip(b"\0")
        if torn:
            self._note(
                segment.number, scan.whole, "cut behind the last whole commit", len(torn), damage=False
            )
        header = replace(segment.header, ranges=scan.ranges)
        try:
            self._files.truncate(segment.fd, scan.whole)
            if header != segment.header:
                self._files.write_all(segment.fd, header.pack(), 0)
            self._files.fdatasync(segment.fd)
        except OSError as cause:
            raise storage_error(segment.path, cause) from cause

    def _salvage(self, entry: Entry, scan: _Scan) -> Entry | None:
        """Write every sound record of a broken log to a new one that takes its place."""
        segment = scan.segment
        number, self._next = self._next, self._next + 1
        sound = [
            found
            for found in record.search(segment.log, segment.view, HEADER_BYTES, scan.limit)
            if found.kind != END
        ]
        keys = {found.key for found in sound if found.kind != RANGE}
        ranges = [found.key for found in sound if found.kind == RANGE]
        floor, first_link = segment.header.floor, self._files.random_u32()
        output = LogWriter(self._directory, _header(entry, number, floor, first_link, len(ranges)))
        try:
            output.delete_ranges(ranges)
            for found in sound:
                if found.kind != RANGE:
                    output.move(segment, found)
            output.end()
            output.finish()
        finally:
            output.close()
        self._records += output.keys
        lost = max(0, (scan.limit if entry.size else scan.whole) - output.size)
        self._note(entry.number, scan.whole, f"salvaged into {number:06d}.log", lost, damage=False)
        if not keys and not ranges:
            return None
        return _kept(entry, number, output.size, len(keys))

    # -- the new beginning -------------------------------------------------------------------------------

    def _install(self, found: Manifest | None, kept: list[Entry]) -> None:
        """Start a new active segment, make the manifest durable, then remove what it does not name."""
        directory = self._directory
        rank = rank_of(self._next)
        floor = found.floor if found else min((entry.oldest for entry in kept), default=rank)
        max_bytes = found.max_bytes if found else 0
        first_link = self._files.random_u32()
        header = LogHeader(self._next, rank, rank, floor, first_link, now_ms())
        capacity = segment_capacity(self._segment_bytes, max_bytes)
        create_active(directory, header, capacity, young_keys(capacity))
        directory.sync()
        following = Manifest(
            generation=(found.generation if found else 0) + 1,
            active=self._next,
            next_number=self._next + 1,
            floor=floor,
            max_bytes=max_bytes,
            segments=tuple(reversed(kept)),
        )
        manifest.install(directory, following)
        start_control(directory, following.generation, following.active, following.next_number, first_link)
        remove_orphans(directory, following)
        remove_temporary(directory)


def _known(entry: Entry, synced: int) -> Entry:
    """Return the entry with what the position `synced` adds to what the manifest knew to be on disk."""
    if entry.poisoned:
        return entry
    return replace(entry, synced=max(entry.synced, bytes_below(synced, entry.number, entry.size)))


def _replaces(one: LogHeader, other: LogHeader) -> bool:
    """Whether `one` was written from a range of segments to which `other` belongs."""
    within = one.oldest <= other.oldest and other.newest <= one.newest
    return within and other.number < one.number and not one.is_original


def _header(entry: Entry, number: int, floor: int, first_link: int, ranges: int) -> LogHeader:
    """Return the header of a log that holds, or again holds, what `entry` stands for."""
    main = entry.kind == "main"
    return LogHeader(
        number, entry.oldest, entry.newest, floor, first_link, entry.began, entry.ordered, main, ranges
    )


def _kept(entry: Entry, number: int, size: int, keys: int) -> Entry:
    """Return the entry of a log that is now on disk as it is; what maintenance had counted may be wrong."""
    return replace(
        entry,
        number=number,
        size=size,
        keys=keys,
        synced=size,
        poisoned=False,
        finished=entry.ordered,
        dead=0,
        tombstones=0,
        soonest=0,
        latest=0,
    )
