"""A report of the engine (a frozen dataclass) as aligned text or as one JSON object."""

import dataclasses
import json
from typing import Any, TypeAlias

import click

from stratakv import BackupReport, CompactionReport, RecoveryReport, Stats, VerifyReport

Report: TypeAlias = BackupReport | CompactionReport | RecoveryReport | Stats | VerifyReport

_BINARY_UNITS = ("KiB", "MiB", "GiB", "TiB")


def show(report: Report, style: str) -> None:
    """Write `report` to standard output; `style` is "text" or "json"."""
    fields = dataclasses.asdict(report)
    if isinstance(report, VerifyReport):
        fields = {"ok": report.ok, **fields}
    click.echo(json.dumps(fields) if style == "json" else "\n".join(_lines(fields)))


def _lines(fields: dict[str, Any]) -> list[str]:
    """One line for each field, and behind a field that is a list its rows."""
    width = max(map(len, fields))
    lines = []
    for name, value in fields.items():
        label = f"{_label(name):<{width}}  "
        if isinstance(value, tuple) and value:
            lines += [label.rstrip(), *_rows(value)]
        else:
            lines.append(label + _text(value) + (_binary_size(value) if name.endswith("bytes") else ""))
    return lines


def _rows(parts: tuple[dict[str, Any], ...]) -> list[str]:
    columns = [_column(name, [part[name] for part in parts]) for name in parts[0]]
    return [("  " + "  ".join(cells)).rstrip() for cells in zip(*columns, strict=True)]


def _column(name: str, values: list[Any]) -> list[str]:
    cells = [_label(name), *map(_text, values)]
    width = max(map(len, cells))
    return [cell.rjust(width) if isinstance(values[0], int) else cell.ljust(width) for cell in cells]


def _label(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _binary_size(size: float) -> str:
    unit = ""
    for larger in _BINARY_UNITS:
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f" ({size:.1f} {unit})" if unit else ""
