"""Results that are kept: one JSON file each, from which the report can be had again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, get_args, get_type_hints

from benchmarks.catalogue import REPORTS
from benchmarks.report import Report


@dataclass(frozen=True, slots=True)
class Result:
    """A report, the command that made it, and the day, as in 2026-01-31."""

    command: str
    day: str
    report: Report

    @classmethod
    def of_today(cls, command: str, printed: str) -> Result:
        """Return what `command` has just printed as JSON."""
        return cls(command, date.today().isoformat(), _report(json.loads(printed)))

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote."""
        found = json.loads(path.read_text())
        return cls(found["command"], found["day"], _report(found["report"]))

    def save(self, path: Path) -> None:
        """Write it to `path`."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")


def _report(found: dict[str, Any]) -> Report:
    report: Report = _rebuild(REPORTS[found["benchmark"]], found)
    return report


def _rebuild(kind: Any, found: Any) -> Any:
    """Return what `found`, read from JSON, was as a value of the type `kind`."""
    if found is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _rebuild(hints[name], value) for name, value in found.items()})  # type: ignore[operator]
    if isinstance(found, list):
        return [_rebuild(get_args(kind)[0], value) for value in found]
    if isinstance(found, dict) and get_args(kind)[1:]:
        return {key: _rebuild(get_args(kind)[1], value) for key, value in found.items()}
    return found
