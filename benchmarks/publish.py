"""`python -m benchmarks all` and `page`: results from runs, and charts and a page from results."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks import page, plots, report
from benchmarks.catalogue import RUNS
from benchmarks.results import Result

_ROOT = Path(__file__).parents[1]


def measure_all(names: Sequence[str], docs: Path | None, directory: Path | None) -> None:
    """Run what makes the results of these names; keep them in `docs`, or print them where it is None.

    Each runs in a process of its own, so that none finds the memory as another has left it. One that fails
    does not keep the others from running.
    """
    failed = []
    for turn, name in enumerate(names, start=1):
        command = f"python -m benchmarks {RUNS[name]}"
        click.echo(f"{turn}/{len(names)} {command}", err=True)
        try:
            result = Result.of_today(command, _output(RUNS[name], directory))
        except subprocess.CalledProcessError:
            failed.append(name)
            continue
        if docs is None:
            report.show(result.report, "text")
        else:
            page.results_folder(docs).mkdir(exist_ok=True)
            result.save(page.results_folder(docs) / f"{name}.json")
            renew(docs)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _output(arguments: str, directory: Path | None) -> str:
    command = [sys.executable, "-m", "benchmarks", *shlex.split(arguments), "--format", "json"]
    if directory is not None:
        command += ["--directory", str(directory.absolute())]
    return subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def renew(docs: Path) -> None:
    """Make the charts and the page in `docs` anew from the results that are kept there."""
    for path in page.results_folder(docs).glob("*.json"):
        for chart in Result.load(path).report.charts():
            plots.save(chart, path.with_name(page.chart_file(path.stem, chart)))
    (docs / page.PAGE).write_text(page.rendered(docs))
