"""What becomes of each log in a recovery. Nothing is changed here; in mode `strict`, damage ends it here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from stratakv.control import bytes_below
from stratakv.directory import Directory
from stratakv.errors import CorruptionError
from stratakv.log import HEADER_BYTES
from stratakv.manifest import Entry
from stratakv.recovery.examine import Examined, examine, is_empty, written
from stratakv.recovery.report import Finding, Mode
from stratakv.recovery.salvage import finds_more

_BREAK = "the chain of sound records breaks"
_TORN = "cut behind the last whole commit"


class Fate(enum.Enum):
    TRUSTED = 1  # not looked at: all of it was on disk
    KEPT = 2  # up to its last whole commit, which may cut something off
    SALVAGED = 3
    GONE = 4


@dataclass(slots=True)
class Verdict:
    """What becomes of one log, and why.

    examined: what is in it, where it was looked at. ends_history: it breaks off, so all younger logs must go.
    damage: more than a torn tail. saved_as: where in lost+found all of it is, once `put_away` has run.
    """

    entry: Entry
    fate: Fate
    examined: Examined | None = None
    ends_history: bool = False
    damage: bool = False
    findings: list[Finding] = field(default_factory=list)
    saved_as: str | None = None


class Judge:
    """Judges the logs of one recovery. synced: up to where all was on disk. floor: that of the store."""

    def __init__(self, directory: Directory, mode: Mode, synced: int, floor: int) -> None:
        self._directory = directory
        self._mode = mode
        self._synced = synced
        self._floor = floor

    def judge(self, entry: Entry, *, newest: bool) -> Verdict:
        """Judge one log. Where it is not the newest, nothing may stand behind its last commit."""
        entry = _known(entry, self._synced)
        # A break in a log that is in key order, or whose sync failed, says nothing about younger logs.
        ends_history = not entry.ordered and not entry.poisoned and self._mode is not Mode.SALVAGE
        try:
            found = examine(self._directory, entry, self._floor)
        except (FileNotFoundError, CorruptionError) as problem:
            return self._unreadable(entry, problem, ends_history=ends_history)
        verdict = Verdict(entry, Fate.KEPT, found)
        if found.header_damaged and (found.last > HEADER_BYTES or entry.synced):
            what = "the header of the log is not sound"
            self._note(verdict, 0, "rebuilt", what, 0, damage=entry.synced > 0)
        expected = max(entry.synced, entry.size)
        torn = max(found.last, expected) - found.whole
        unknown = not newest and not entry.size and found.last > found.whole
        if found.whole >= expected and not unknown:
            if self._mode is Mode.SALVAGE and finds_more(found):
                verdict.fate = Fate.SALVAGED
            elif found.last > found.whole:
                self._note(verdict, found.whole, "cut", _TORN, torn, damage=False)
            return verdict
        damage = found.whole < entry.synced or entry.ordered or unknown
        if entry.poisoned or ends_history:
            verdict.ends_history = ends_history
            self._note(verdict, found.whole, "cut", _BREAK, torn, damage=damage)
        else:
            verdict.fate = Fate.SALVAGED
            self._refuse(entry.number, found.whole, _BREAK, damage=damage)
            verdict.damage |= damage
        return verdict

    def too_young(self, entry: Entry, *, damage: bool) -> Verdict:
        """Drop a log because an older one breaks off. damage: whether more than a torn tail did that."""
        verdict = Verdict(entry, Fate.GONE, damage=damage)
        if not is_empty(self._directory, entry.number):
            size = entry.size or written(self._directory, entry.number)
            what = "younger than the break before it"
            verdict.findings.append(Finding(self._name(entry), 0, "dropped", what, size, damage))
        return verdict

    def _unreadable(self, entry: Entry, problem: Exception, *, ends_history: bool) -> Verdict:
        """Give up a log that is missing, or shorter than its header, as a power cut may leave the newest."""
        missing = isinstance(problem, FileNotFoundError)
        verdict = Verdict(entry, Fate.GONE, ends_history=ends_history)
        if missing or entry.synced or entry.size:
            reason = problem.reason if isinstance(problem, CorruptionError) else "the file is missing"
            lost = max(entry.size, entry.synced)
            self._note(verdict, 0, "lost", reason, lost, damage=missing or entry.synced > 0)
        return verdict

    def _note(
        self, verdict: Verdict, offset: int, action: str, what: str, lost: int, *, damage: bool
    ) -> None:
        self._refuse(verdict.entry.number, offset, what, damage=damage)
        verdict.damage |= damage
        verdict.findings.append(Finding(self._name(verdict.entry), offset, action, what, lost, damage))

    def _refuse(self, number: int, offset: int, what: str, *, damage: bool) -> None:
        if damage and self._mode is Mode.STRICT:
            raise CorruptionError(self._directory.log_path(number), offset, what)

    def _name(self, entry: Entry) -> str:
        return self._directory.log_path(entry.number).name


def _known(entry: Entry, synced: int) -> Entry:
    """Return the entry with what the position `synced` adds to what the manifest knew to be on disk."""
    if entry.poisoned:
        return entry
    below = bytes_below(synced, entry.number, entry.size)
    if entry.size:
        below = min(below, entry.size)  # a recovery that died has cut it since
    return replace(entry, synced=max(entry.synced, below))
