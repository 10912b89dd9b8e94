"""What recovery may do about damage, and what it says it did."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from stratakv.errors import OptionError


class Mode(enum.StrEnum):
    """What to do about damage, see the module's text."""

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
    """One thing recovery met: in which file, at which byte, what, and how many bytes were given up for it."""

    file: str
    offset: int
    what: str
    lost_bytes: int


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery kept and what it gave up.

    manifest_rebuilt: the manifest was lost or damaged, and the logs' own headers took its place.
    records: sound records kept, older versions included. damage: whether more than a torn tail was lost.
    """

    mode: str
    manifest_rebuilt: bool
    segments: int
    records: int
    damage: bool
    findings: tuple[Finding, ...]
