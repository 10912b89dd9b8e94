"""How results are shown: to people as a table, to programs as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.charts import Chart
from benchmarks.spread import Spread


@dataclass(frozen=True, slots=True)
class Report(ABC):
    """The result of one run: a dataclass of plain values, of which JSON can be made and read again.

    machine: what any figure depends on.
    """

    benchmark: str
    parameters: dict[str, int]
    machine: dict[str, str]

    @abstractmethod
    def table(self) -> Table:
        """Return the figures as a table, with what they depend on in its caption."""

    def charts(self) -> Sequence[Chart]:
        """Return what is worth drawing."""
        return ()


def machine(*packages: str) -> dict[str, str]:
    """Return what any figure depends on: the machine, Python, and the versions of `packages`."""
    return {
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
        "Python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def show(report: Report, style: str) -> None:
    """Write `report` to standard output; `style` is "text" or "json"."""
    if style == "json":
        click.echo(json.dumps(dataclasses.asdict(report)))
    else:
        Console().print(report.table())


def titled_table(benchmark: str, parameters: dict[str, int], *depends_on: dict[str, str]) -> Table:
    """Return a table without columns, under what was run and above what its figures depend on."""
    sizes = (f"{value:,} {name.replace('_', ' ')}" for name, value in parameters.items())
    return Table(
        title=f"{benchmark}: {', '.join(sizes)}",
        caption="\n".join(f"{name}: {value}" for part in depends_on for name, value in part.items()),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def cells(spread: Spread) -> tuple[str, str]:
    """Return the median, and the quartiles, as text."""
    return f"{spread.median:.2f}", f"{spread.lower:.2f}-{spread.upper:.2f}"
