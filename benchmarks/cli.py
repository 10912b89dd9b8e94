"""The commands of `python -m benchmarks`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import alone, arguments, beside, endurance
from benchmarks.catalogue import RUNS


@click.group()
def benchmarks() -> None:
    """Measure StrataKV, beside other stores or under a load of its own, and print what was found."""


for _command in (*beside.COMMANDS, *alone.COMMANDS, *endurance.COMMANDS):
    benchmarks.add_command(_command)


@benchmarks.command("all")
@click.argument("names", nargs=-1, metavar="[RESULT]...")
@click.option(
    "--write",
    "docs",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Keep each result in this folder's benchmarks/, and make the charts and benchmarks.md anew.",
)
@arguments.directory
def _all(names: tuple[str, ...], docs: Path | None, directory: Path | None) -> None:
    """Every benchmark one after the other, or the named RESULTs only; all of them take about an hour.

    `all --write docs` makes the documentation's figures, `all engine-100 --write docs` those of one result.
    """
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise click.UsageError(f"There is no {', '.join(unknown)}; there are {', '.join(RUNS)}.")
    from benchmarks import publish  # not at the top: matplotlib takes long to import

    publish.measure_all(names or tuple(RUNS), docs, directory)


@benchmarks.command("page")
@click.argument("docs", type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True))
def _page(docs: Path) -> None:
    """Make the charts and benchmarks.md in the folder DOCS anew from the results kept there."""
    from benchmarks import publish

    publish.renew(docs)
