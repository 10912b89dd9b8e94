"""One recovery, from the judging of all logs to the report; `stratakv.recovery` says how it goes."""

from __future__ import annotations

from stratakv.control import W_INDEXED, W_SYNCED, W_TIP, open_control
from stratakv.directory import Directory
from stratakv.errors import DirectoryError, StrataKVError
from stratakv.lost_found import LostFound
from stratakv.manifest import Manifest
from stratakv.progress import Progress, untold
from stratakv.recovery.put_away import PutAway, strays
from stratakv.recovery.renewal import Renewal
from stratakv.recovery.report import Finding, KeptLog, Mode, RecoveryReport
from stratakv.recovery.survey import Survey, from_logs, from_manifest
from stratakv.recovery.verdict import Fate, Judge, Verdict


class Recovery:
    """One run over a directory that nobody else has open.

    asked: somebody asked for it. Otherwise it comes after a reboot: what the manifest knows to be on disk is
    left alone, and ordinary torn tails do not go into lost+found. limit: bytes that lost+found may take as a
    whole; None for any number.
    """

    def __init__(
        self,
        directory: Directory,
        segment_bytes: int,
        mode: Mode,
        progress: Progress = untold,
        *,
        asked: bool = True,
        limit: int | None = None,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._mode = mode
        self._progress = progress
        self._asked = asked
        self.lost_found = LostFound(directory, limit)

    def run(self, found: Manifest | None) -> RecoveryReport:
        """Recover from the manifest `found`, or from the logs alone where there is none."""
        if found:
            survey = from_manifest(self._directory, found)
        else:
            survey = from_logs(self._directory, salvage=self._mode is Mode.SALVAGE)
            if not survey.entries:
                raise DirectoryError(
                    f"{self._directory.path} has no StrataKV log: there is nothing to recover"
                )
        verdicts = self._judge(survey)
        stray = strays(self._directory, survey, self._mode, asked=self._asked)
        put_away = PutAway(self._directory, self.lost_found, asked=self._asked)
        verdicts, findings = put_away.run(survey, verdicts, stray)
        renewal = Renewal(self._directory, self._segment_bytes, survey, verdicts)
        try:
            renewal.run()
        except (StrataKVError, OSError):
            if not renewal.begun:
                self.lost_found.give_up()  # a full disk must not fill up with attempts
            raise
        return self._report(survey, tuple(renewal.kept), (*findings, *renewal.findings))

    def _report(
        self, survey: Survey, kept: tuple[KeptLog, ...], findings: tuple[Finding, ...]
    ) -> RecoveryReport:
        return RecoveryReport(
            mode=str(self._mode),
            manifest_rebuilt=survey.rebuilt,
            segments=len(kept),
            records=sum(each.records or 0 for each in kept),
            damage=any(finding.damage for finding in findings),
            kept_bytes=sum(each.size for each in kept),
            lost_bytes=sum(finding.lost_bytes for finding in findings),
            lost_found=self.lost_found.folder,
            kept=kept,
            findings=findings,
        )

    def _judge(self, survey: Survey) -> list[Verdict]:
        """Return a verdict on each log, oldest first; CorruptionError for damage in mode "strict"."""
        judge = Judge(self._directory, self._mode, self._reached(), survey.floor or 0)
        done, total = 0, sum(entry.size for entry in survey.entries)
        verdicts: list[Verdict] = []
        broken: Verdict | None = None
        for entry in survey.entries:
            if broken:
                verdict = judge.too_young(entry, damage=broken.damage)
            elif not self._asked and 0 < entry.size == entry.synced and not entry.poisoned:
                verdict = Verdict(entry, Fate.TRUSTED)
            else:
                verdict = judge.judge(entry, newest=entry is survey.entries[-1])
                broken = verdict if verdict.ends_history else None
            verdicts.append(verdict)
            done += entry.size
            self._progress(done, total)
        return verdicts

    def _reached(self) -> int:
        """The position up to which everything must be there, by CONTROL.

        What was on disk. If the machine has not been restarted, all that was committed, too; but not where a
        recovery comes by itself: the disk may have been taken away before it had all.
        """
        try:
            control = open_control(self._directory, write=False)
        except FileNotFoundError:
            return 0
        if not control.is_sound():
            return 0
        words = control.words
        # A flipped bit of the tip would make damage of what never was; between commits there is a second one.
        is_at_rest = words[W_TIP] == words[W_INDEXED]
        if self._asked and is_at_rest and control.is_from(self._directory.files.boot_id()):
            return max(words[W_SYNCED], words[W_TIP])
        return words[W_SYNCED]
