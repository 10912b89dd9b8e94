"""A report of the engine (a frozen dataclass) as aligned text or as one JSON object."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_BINARY_UNITS = ("KiB", "MiB", "GiB", "TiB")


def show(report: "DataclassInstance", style: str) -> None:
    """Write `report` to standard output; `style` is "text" or "json"."""
    fields = dataclasses.asdict(report)
    if style == "json":
        click.echo(json.dumps(fields, default=str))
    else:
        click.echo("\n".join(_lines(fields)))


def _lines(fields: dict[str, Any], indent: str = "") -> list[str]:
    width = max(map(len, fields), default=0)
    lines = []
    for name, value in fields.items():
        label = f"{indent}{name.replace('_', ' '):<{width}}"
        nested = _nested(value)
        if nested:
            lines.append(label.rstrip())
            for part in nested:
                lines += _lines(part, indent + "  ")
        else:
            lines.append(f"{label}  {_shown(name, value)}")
    return lines


def _nested(value: Any) -> list[dict[str, Any]]:
    parts = value if isinstance(value, list | tuple) else [value]
    return [part for part in parts if isinstance(part, dict)]


def _shown(name: str, value: Any) -> str:
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        size = _binary_size(value) if name.endswith("bytes") else ""
        return f"{value:,}{size}"
    if isinstance(value, float):
        return f"{value:,.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _binary_size(size: float) -> str:
    unit = ""
    for larger in _BINARY_UNITS:
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f" ({size:.1f} {unit})" if unit else ""
