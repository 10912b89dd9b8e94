"""What recovery may do about damage, and what it says it did."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from stratakv.errors import OptionError


class Mode(enum.StrEnum):
    """What to do about damage, see `stratakv.recovery`."""

    POINT_IN_TIME = "point-in-time"
    STRICT = "strict"
    SALVAGE = "salvage"


def mode_of(name: str) -> Mode:
    try:
        return Mode(name)
    except ValueError:
        raise OptionError(
            f"mode must be one of {', '.join(map(repr, map(str, Mode)))}, not {name!r}"
        ) from None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing recovery met, and what it did about it.

    file, offset: where; offset in bytes. action: "cut" (the log ends there now), "salvaged" (what is sound of
    it is in a new log), "dropped" (taken off the store whole), "lost" (there was nothing to keep), "rebuilt"
    (written anew from what else is known) or "left" (not touched). lost_bytes: how many bytes of records the
    store no longer has. damage: more than a torn tail. saved_as: where in the store's directory the bytes
    are now that were taken out; None where there were none or, at a recovery nobody asked for, were not kept.
    """

    file: str
    offset: int
    action: str
    what: str
    lost_bytes: int = 0
    damage: bool = False
    saved_as: str | None = None


@dataclass(frozen=True, slots=True)
class KeptLog:
    """One log of the store as recovery left it: its bytes, and its records; None where it was not read."""

    file: str
    size: int
    records: int | None


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery kept and what it gave up.

    manifest_rebuilt: the manifest was lost or damaged, and the logs' own headers took its place.
    records: sound records kept, older versions included, in the logs that were read. damage: whether more
    than a torn tail was lost. kept_bytes, lost_bytes: sums over `kept` and `findings`. lost_found: the folder
    in the store's directory that has what was taken out; None where nothing was put there.
    """

    mode: str
    manifest_rebuilt: bool
    segments: int
    records: int
    damage: bool
    kept_bytes: int
    lost_bytes: int
    lost_found: str | None
    kept: tuple[KeptLog, ...]
    findings: tuple[Finding, ...]
