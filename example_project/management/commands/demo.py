"""``manage.py demo``: every bundled program twice, first compiled and run, then from the cache."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from example_project import compile_cache, statistics
from example_project.languages import MissingCompilerError, toolchain
from example_project.presentation import duration, ending
from example_project.samples import Sample, samples
from example_project.sandbox import SandboxError

PAGE = f"{sys.executable} {sys.argv[0]} runserver"


@dataclasses.dataclass(frozen=True)
class Row:
    """One sample, run twice; `skipped` says why it was not, and everything else is None then."""

    program: str
    language: str
    cold_ms: float | None = None
    warm_ms: float | None = None
    ratio: float | None = None
    cold: str | None = None
    warm: str | None = None
    outcome: str | None = None
    skipped: str | None = None


class Command(BaseCommand):
    help = "Run the bundled programs twice and compare: compiled and run, then served from the cache."
    requires_system_checks = ["caches"]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text", help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["format"] == "json":
                rows = list(_rows())
                self.stdout.write(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
            else:
                rows = self._print_table()
        except SandboxError as error:
            raise CommandError(str(error)) from error
        if misses := [row.program for row in rows if row.skipped is None and row.warm != "hit"]:
            raise CommandError(f"not in the cache when run again: {', '.join(misses)}")

    def _print_table(self) -> list[Row]:
        # A pipe has no width of its own: let no column be cut there.
        console = Console(file=cast(TextIO, self.stdout), width=None if self.stdout.isatty() else 120)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            rows = list(progress.track(_rows(), total=len(samples()), description="compiling and running"))
        console.print(_table(rows))
        console.print(
            f"Try your own programs on the page:  [bold]{PAGE}[/bold]", highlight=False, soft_wrap=True
        )
        return rows


def _rows() -> Iterator[Row]:
    for sample in samples().values():
        try:
            yield _row(sample)
        except MissingCompilerError as error:
            yield Row(sample.name, sample.language, skipped=str(error))


def _row(sample: Sample) -> Row:
    # Only this entry: the site's others stay, and so cold is cold.
    cache.delete(compile_cache.key_for(sample.program, toolchain(sample.program.language)))
    cold, warm = (compile_cache.answer(sample.program) for _ in range(2))
    for answer in (cold, warm):
        statistics.count(answer)
    cold_ms, warm_ms = cold.milliseconds["total"], warm.milliseconds["total"]
    outcome = ending(warm.result.stages[-1])
    if warm.result.run is None:
        outcome = f"compiler: {outcome}"
    return Row(
        sample.name, sample.language, cold_ms, warm_ms, cold_ms / warm_ms, cold.state, warm.state, outcome
    )


def _table(rows: list[Row]) -> Table:
    table = Table(title="Each program twice: compiled and run, then from the cache", title_justify="left")
    for name in ("program", "language"):
        table.add_column(name, no_wrap=True)
    for name in ("cold", "warm", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cache", no_wrap=True)
    table.add_column("outcome")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    if row.cold_ms is None or row.warm_ms is None:
        return [row.program, row.language, "", "", "", "[dim]skipped[/dim]", f"[dim]{row.skipped}[/dim]"]
    again = "[bold green]hit[/bold green]" if row.warm == "hit" else f"[bold red]{row.warm}[/bold red]"
    ratio = f"{row.cold_ms / row.warm_ms:,.0f} x"
    return [
        row.program,
        row.language,
        duration(row.cold_ms),
        duration(row.warm_ms),
        ratio,
        again,
        row.outcome or "",
    ]
