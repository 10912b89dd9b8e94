"""A report of the engine (a frozen dataclass) as aligned text or as one JSON object."""

import dataclasses
import json
from typing import Any, TypeAlias

from stratakv import BackupReport, CompactionReport, MaintenanceReport, RecoveryReport, Stats, VerifyReport
from stratakv.cli import streams

Report: TypeAlias = (
    BackupReport | CompactionReport | MaintenanceReport | RecoveryReport | Stats | VerifyReport
)

_BINARY_UNITS = ("KiB", "MiB", "GiB", "TiB")


def show(report: Report, style: str) -> None:
    """Write `report` to standard output; `style` is "text" or "json"."""
    fields = dataclasses.asdict(report)
    if isinstance(report, VerifyReport):
        fields = {"ok": report.ok, **fields}
    streams.write_line(json.dumps(fields) if style == "json" else "\n".join(_lines(fields)))


def _lines(fields: dict[str, Any]) -> list[str]:
    """One line for each field, and behind a field that is a list its rows."""
    width = max(map(len, fields))
    lines = []
    for name, value in fields.items():
        label = f"{_label(name):<{width}}  "
        if isinstance(value, tuple) and value:
            lines += [label.rstrip(), *_rows(value)]
        else:
            lines.append(label + _field(name, value))
    return lines


def _rows(parts: tuple[dict[str, Any], ...]) -> list[str]:
    columns = [_column(name, [part[name] for part in parts]) for name in parts[0]]
    return [("  " + "  ".join(cells)).rstrip() for cells in zip(*columns, strict=True)]


def _column(name: str, values: list[Any]) -> list[str]:
    cells = [_label(name), *(_duration(value) if name == "age" else _text(value) for value in values)]
    width = max(map(len, cells))
    return [cell.ljust(width) if isinstance(values[0], str) else cell.rjust(width) for cell in cells]


def _label(name: str) -> str:
    return name.replace("_", " ")


def _field(name: str, value: Any) -> str:
    """A value with its unit, where its name tells that it has one."""
    if name == "max_bytes" and not value:
        return "no limit"
    if name == "age":
        return f"{value:,.0f} s ({_duration(value)})" if value >= 60 else _duration(value)
    return _text(value) + (_binary_size(value) if "bytes" in name.split("_") else "")


def _text(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"
    return str(value)


def _binary_size(size: float) -> str:
    unit = ""
    for larger in _BINARY_UNITS:  # pragma: no branch: 1,024 TiB are more than any store has
        if round(size, 1) < 1024:  # as it will be shown: not 1024.0 KiB for a MiB less one byte
            break
        size, unit = size / 1024, larger
    return f" ({size:.1f} {unit})" if unit else ""


def _duration(seconds: float) -> str:
    """The two largest units of a duration: 45 s, 3 min 20 s, 5 h 12 min, 12 d 7 h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days:,} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
