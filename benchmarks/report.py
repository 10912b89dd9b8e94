"""How results are shown: to people as a table, to programs as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

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

    def tables(self) -> Iterable[Table]:
        """Return what is to be seen first, that one before others."""
        return (self.table(),)

    def details(self) -> Iterable[Table]:
        """Return further tables, for who wants to know more."""
        return ()

    def charts(self) -> Sequence[Chart]:
        """Return what is worth drawing."""
        return ()


def machine(*packages: str) -> dict[str, str]:
    """Return what any figure depends on: the machine, Python, and versions of the `packages` there are."""
    return {
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
        "Python": platform.python_version(),
        **_versions(packages),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def show(report: Report, style: str) -> None:
    """Write `report` to standard output; `style` is "text" or "json"."""
    if style == "json":
        click.echo(json.dumps(dataclasses.asdict(report)))
    else:
        Console().print(*report.tables(), *report.details())


def titled_table(benchmark: str, parameters: dict[str, int], *depends_on: dict[str, str]) -> Table:
    """Return a table without columns, under what was run and above what its figures depend on."""
    sizes = (f"{value:,} {name.replace('_', ' ')}" for name, value in parameters.items())
    table = plain_table()
    table.title = f"{benchmark}: {', '.join(sizes)}"
    table.caption = "\n".join(f"{name}: {value}" for part in depends_on for name, value in part.items())
    return table


def plain_table() -> Table:
    """Return a table without columns."""
    return Table(
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def cells(spread: Spread) -> tuple[str, str]:
    """Return the median, and the quartiles, as text."""
    return digits(spread.median), f"{digits(spread.lower)}-{digits(spread.upper)}"


def digits(figure: float) -> str:
    """Return a figure as text, with two digits that say something where it is small."""
    return f"{figure:.2f}" if abs(figure) >= 0.1 else f"{figure:.2g}"
