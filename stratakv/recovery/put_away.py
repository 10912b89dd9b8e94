"""Putting what a recovery is about to take out of the store into lost+found, before anything is changed."""

from __future__ import annotations

from dataclasses import replace

from stratakv.directory import MANIFEST_NAME, OLD_MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError, StrataKVError
from stratakv.log import HEADER_BYTES
from stratakv.lost_found import LostFound
from stratakv.recovery.examine import Examined, is_empty, is_written, written
from stratakv.recovery.report import Finding, Mode
from stratakv.recovery.survey import Survey
from stratakv.recovery.verdict import Fate, Verdict


class PutAway:
    """What one recovery puts away. asked: all of it; else what follows from damage."""

    def __init__(self, directory: Directory, lost_found: LostFound, *, asked: bool) -> None:
        self._directory = directory
        self._lost_found = lost_found
        self._asked = asked

    def run(
        self, survey: Survey, verdicts: list[Verdict], strays: list[Finding]
    ) -> tuple[list[Verdict], list[Finding]]:
        """Put it away, durably, or change nothing and raise StorageError.

        Returns the verdicts, with where everything is now, and all that was found so far.
        """
        try:
            found = [self._manifest()] if survey.rebuilt else []
            judged = [self._log(verdict) for verdict in verdicts]
            found += [finding for verdict in judged for finding in verdict.findings]
            for stray in strays:
                linked = None if stray.action == "left" else self._lost_found.link(stray.file)
                found.append(replace(stray, saved_as=linked))
            self._lost_found.sync()
        except (StrataKVError, OSError):
            self._lost_found.give_up()
            raise
        return judged, found

    def _manifest(self) -> Finding:
        saved = None
        for name in (f"{MANIFEST_NAME}.tmp", OLD_MANIFEST_NAME, MANIFEST_NAME):
            if self._directory.files.is_there(self._directory.path / name):
                saved = self._lost_found.link(name)
        what = "lost or damaged; rebuilt from the logs"
        return Finding(MANIFEST_NAME, 0, "rebuilt", what, 0, True, saved)

    def _log(self, verdict: Verdict) -> Verdict:
        """Keep what the store is to lose of one log; return the verdict that says where that is."""
        if verdict.fate is Fate.TRUSTED or not (self._asked or verdict.damage):
            return verdict
        number, examined = verdict.entry.number, verdict.examined
        name = self._directory.log_path(number).name
        if examined is None or examined.whole == HEADER_BYTES or verdict.fate is Fate.SALVAGED:
            if is_empty(self._directory, number):
                return verdict
            saved = self._lost_found.link(name)
            findings = [replace(finding, saved_as=saved) for finding in verdict.findings]
            return replace(verdict, findings=findings, saved_as=saved)
        return replace(verdict, findings=[self._part(name, examined, each) for each in verdict.findings])

    def _part(self, name: str, examined: Examined, finding: Finding) -> Finding:
        """Keep the part of a log that a finding is about: its header, or what stands behind the cut."""
        end = examined.last if finding.action == "cut" else HEADER_BYTES
        if finding.offset >= end:
            return finding
        saved = self._lost_found.copy(name, examined.segment.log, finding.offset, end)
        return replace(finding, saved_as=saved)


def strays(directory: Directory, survey: Survey, mode: Mode, *, asked: bool) -> list[Finding]:
    """Return the logs with records that the store does not know and that would be removed.

    A process that died may have left one; its records are in other logs as well, or were deleted. But where
    writers wrote a log after the manifest's active one, that manifest is not the last there was. This is
    damage, and a CorruptionError in mode "strict".
    """
    numbers = {entry.number for entry in survey.entries}
    found = []
    for number in directory.numbers("log"):
        if number in numbers or is_empty(directory, number):
            continue
        path = directory.log_path(number)
        if number in survey.unreadable:
            what = "neither its header nor its records tell what it is"
            found.append(Finding(path.name, 0, "left", what, 0, True))
            continue
        strange = not survey.rebuilt and number > survey.entries[-1].number and is_written(directory, number)
        if strange and mode is Mode.STRICT:
            raise CorruptionError(path, 0, "writers wrote it, and the manifest does not know it yet")
        if strange or asked:
            lost = written(directory, number) if strange else 0
            found.append(Finding(path.name, 0, "dropped", "the manifest does not name it", lost, strange))
    return found
