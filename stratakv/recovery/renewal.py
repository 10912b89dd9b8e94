"""The store after a recovery: logs brought in order, a new active segment, the manifest that names them."""

from __future__ import annotations

from dataclasses import replace

from stratakv import manifest
from stratakv.control import W_STATE, State, open_control, start_control
from stratakv.directory import MANIFEST_NAME, Directory
from stratakv.errors import StrataKVError, reported
from stratakv.log import HEADER_BYTES, rank_of
from stratakv.manifest import Entry, Manifest
from stratakv.opening import begin_empty
from stratakv.orphans import remove_orphans
from stratakv.recovery.examine import Examined
from stratakv.recovery.report import Finding, KeptLog
from stratakv.recovery.salvage import salvage
from stratakv.recovery.survey import Survey
from stratakv.recovery.verdict import Fate, Verdict


class Renewal:
    """Does what the verdicts say.

    kept: the logs that stay. findings: what was salvaged, and into what. begun: whether anything was changed.
    """

    def __init__(
        self, directory: Directory, segment_bytes: int, survey: Survey, verdicts: list[Verdict]
    ) -> None:
        self._directory = directory
        self._files = directory.files
        self._segment_bytes = segment_bytes
        self._survey = survey
        self._verdicts = verdicts
        self._next = survey.next_number
        self._entries: list[Entry] = []  # oldest first
        self._doomed: set[int] = set(survey.unwanted)
        self.kept: list[KeptLog] = []
        self.findings: list[Finding] = []
        self.begun = False

    def run(self) -> None:
        """Renew the store; where that fails before anything was changed, take back what was made."""
        try:
            for verdict in self._verdicts:
                self._bring_in_order(verdict)
            self._install()
        except (StrataKVError, OSError):
            if not self.begun:
                for number in range(self._survey.next_number, self._next + 1):
                    self._directory.remove(number)
            raise

    # -- new logs, and headers ---------------------------------------------------------------------------

    def _bring_in_order(self, verdict: Verdict) -> None:
        """Give one log, or what takes its place, an entry in the new manifest; durable before that."""
        entry, records = None, None
        if verdict.fate is Fate.TRUSTED:
            entry = verdict.entry
        elif verdict.fate is Fate.KEPT:
            entry, records = self._settle(verdict), _examined(verdict).records
        elif verdict.fate is Fate.SALVAGED:
            entry, records = self._salvage(verdict)
        if entry:
            self._entries.append(entry)
            self.kept.append(KeptLog(self._directory.log_path(entry.number).name, entry.size, records))
        if entry is None or entry.number != verdict.entry.number:
            self._doomed.add(verdict.entry.number)

    def _settle(self, verdict: Verdict) -> Entry | None:
        """Make what is whole of a log durable, its header fitting; None where nothing is."""
        examined = _examined(verdict)
        if examined.whole == HEADER_BYTES:
            return None
        segment = examined.segment
        header = replace(segment.header, ranges=examined.ranges)
        with reported(segment.path):
            if examined.header_damaged or header != segment.header:
                self.begun = True
                self._files.write_all(segment.fd, header.pack(), 0)
            self._files.fdatasync(segment.fd)
        return _stays(verdict.entry, segment.number, examined.whole, examined.keys, segment.header.began)

    def _salvage(self, verdict: Verdict) -> tuple[Entry | None, int]:
        """Write every sound record of a broken log to a new one that takes its place."""
        entry, examined = verdict.entry, _examined(verdict)
        number, self._next = self._next, self._next + 1
        output = salvage(self._directory, entry, examined, number)
        lost = max(0, max(entry.size, examined.last) - output.size)
        what = f"the chain of sound records breaks; salvaged into {number:06d}.log"
        name = self._directory.log_path(entry.number).name
        self.findings.append(
            Finding(name, examined.whole, "salvaged", what, lost, verdict.damage, verdict.saved_as)
        )
        if not output.records and not output.ranges:
            self._doomed.add(number)
            return None, 0
        began = examined.segment.header.began
        return _stays(entry, number, output.size, output.keys, began), output.records

    # -- the new beginning -------------------------------------------------------------------------------

    def _install(self) -> None:
        """Start a new active segment, make the manifest durable, then cut and remove what is not in it."""
        directory, survey = self._directory, self._survey
        floor = survey.floor
        if floor is None:
            floor = min((entry.oldest for entry in self._entries), default=rank_of(self._next))
        begun = begin_empty(directory, self._next, floor, self._segment_bytes, survey.max_bytes)
        following = Manifest(
            generation=survey.generation + 1,
            active=self._next,
            next_number=self._next + 1,
            floor=floor,
            max_bytes=survey.max_bytes,
            segments=tuple(reversed(self._entries)),
        )
        control = open_control(directory, write=True)
        # IMPORTANT: from here to the end, CONTROL does not fit; whoever finds it so recovers again.
        self.begun = True
        control.words[W_STATE] = State.NEW
        if survey.rebuilt:  # else the damaged one would take the place of the good one before it
            directory.replace(MANIFEST_NAME, manifest.encode(following))
        else:
            manifest.install(directory, following)
        self._tidy(following)
        start_control(directory, following, begun.first_link)

    def _tidy(self, following: Manifest) -> None:
        for verdict in self._verdicts:
            if verdict.fate is Fate.KEPT and verdict.entry.number not in self._doomed:
                self._cut(_examined(verdict))
        for number in self._doomed:
            self._directory.remove(number)
        remove_orphans(self._directory, following, alone=True)

    def _cut(self, examined: Examined) -> None:
        """End a log behind its last whole commit, durably."""
        segment = examined.segment
        with reported(segment.path):
            self._files.truncate(segment.fd, examined.whole)
            self._files.fdatasync(segment.fd)


def _examined(verdict: Verdict) -> Examined:
    assert verdict.examined
    return verdict.examined


def _stays(entry: Entry, number: int, size: int, keys: int, began: int) -> Entry:
    """Return the entry of a log that is now on disk as it is; what maintenance had counted may be wrong."""
    return replace(
        entry,
        number=number,
        size=size,
        keys=keys,
        synced=size,
        poisoned=False,
        began=entry.began or began,
        finished=entry.ordered,
        dead=0,
        tombstones=0,
        soonest=0,
        latest=0,
    )
