"""The options of `stratakv.open`, checked once, when the store is opened."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from stratakv.errors import OptionError

MAX_KEY_BYTES = 0xFFFF
MAX_VALUE_BYTES = 0xFFFF_FFFF
LEAST_BUDGET = 2**18
_LARGEST_BUDGET = 2**50


class Durability(enum.StrEnum):
    """What a power cut may cost; the end of any process costs nothing at every level."""

    ALWAYS = "always"  # acknowledged means on disk
    INTERVAL = "interval"  # at most the last `sync_interval` seconds
    OS = "os"  # whatever the kernel had not yet written by itself


class MaintenanceMode(enum.StrEnum):
    """Who finishes indexes, merges, evicts and tidies up."""

    AUTO = "auto"  # a child process, or a thread where none can be started
    MANUAL = "manual"  # whoever calls `maintain` or `compact`


@dataclass(frozen=True, slots=True)
class Options:
    """How a store is opened; `stratakv.open` says what each option means."""

    durability: Durability = Durability.ALWAYS
    read_only: bool = False
    mode: int = 0o700
    max_value_bytes: int = 256 * 2**20
    segment_bytes: int = 64 * 2**20
    sync_interval: float = 1.0
    max_bytes: int | None = None
    maintenance: MaintenanceMode = MaintenanceMode.AUTO
    create: bool = True

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Options:
        """Check `given` and return the options; raises OptionError, which names the nearest valid name."""
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(names)}"
                raise OptionError(f"unknown option {name!r}: {hint}")
        for name, value in given.items():
            _CHECKS[name](name, value)
        chosen = {name: _CHOICES[name](value) for name, value in given.items() if name in _CHOICES}
        return cls(**{**given, **chosen})

    def differing(self, other: Options) -> list[str]:
        """Return the names of the options by which a store that is open cannot be shared with `other`."""
        names = (field.name for field in fields(self) if field.name != "create")
        return [name for name in names if getattr(self, name) != getattr(other, name)]


_CHOICES: dict[str, type[enum.StrEnum]] = {"durability": Durability, "maintenance": MaintenanceMode}


def _choice(name: str, value: object) -> None:
    if value not in list(_CHOICES[name]):
        raise OptionError(
            f"{name} must be one of {', '.join(map(repr, map(str, _CHOICES[name])))}, not {value!r}"
        )


def _budget(name: str, value: object) -> None:
    if value is None or (type(value) is int and value == 0):  # 0.0 would be no number of bytes in MANIFEST
        return
    if type(value) is not int or not LEAST_BUDGET <= value <= _LARGEST_BUDGET:
        raise OptionError(
            f"{name} must be a number of bytes from {LEAST_BUDGET:,} to {_LARGEST_BUDGET:,}, "
            f"or 0 for no limit, not {value!r}"
        )


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, not {value!r}")


def _mode(name: str, value: object) -> None:
    if type(value) is not int or value not in (0o700, 0o770):
        shown = f"{value} ({oct(value)})" if isinstance(value, int) else repr(value)
        raise OptionError(
            f"{name} must be 0o700, or 0o770 to share the store with the directory's group, not {shown}"
        )


def _bytes(least: int, most: int) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise OptionError(f"{name} must be a number of bytes from {least:,} to {most:,}, not {value!r}")

    return check


def _seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.001 <= value <= 86_400:
        raise OptionError(f"{name} must be a number of seconds from 0.001 to 86,400, not {value!r}")


_CHECKS = {
    "durability": _choice,
    "maintenance": _choice,
    "max_bytes": _budget,
    "read_only": _flag,
    "mode": _mode,
    "max_value_bytes": _bytes(1, MAX_VALUE_BYTES),
    "segment_bytes": _bytes(4096, 2**36),
    "sync_interval": _seconds,
    "create": _flag,
}
