"""What the commands have in common: options, the place of the stores, and word of what is going on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from benchmarks import report

directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Where the stores are made, and removed again.  [default: the system's temporary directory]",
)
value_bytes = click.option(
    "--value-bytes", type=click.IntRange(1), default=1024, show_default=True, help="Length of each value."
)
style = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True
)

Option = Callable[[Callable[..., None]], Callable[..., None]]


def count(name: str, default: int, meaning: str | None = None, least: int = 1) -> Option:
    """Return an option that takes a number."""
    return click.option(name, type=click.IntRange(least), default=default, show_default=True, help=meaning)


def rounds(default: int, meaning: str) -> Option:
    return count("--rounds", default, meaning, least=2)  # quartiles need two samples


def seconds(default: float, meaning: str, least: float = 0.01) -> Option:
    return click.option(
        "--seconds", type=click.FloatRange(least), default=default, show_default=True, help=meaning
    )


log_bytes = count("--log-bytes", 64 * 2**20, "At which a log is full, and the next one begins.", least=4096)


def durability(default: str) -> Option:
    return click.option(
        "--durability",
        type=click.Choice(["always", "interval", "os"]),
        default=default,
        show_default=True,
        help="The level at which the store is opened.",
    )


@contextmanager
def place(directory: Path | None) -> Iterator[Path]:
    """A new directory for the stores, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="stratakv-benchmark-", dir=directory) as name:
        yield Path(name)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What is being measured, on a terminal; nothing elsewhere."""
    with Console(stderr=True).status("preparing") as status:
        yield status.update


def measure(
    run: Callable[[Path, Callable[[str], None]], report.Report], directory: Path | None, style: str
) -> None:
    """Run a benchmark in a place below `directory`, and show what it found."""
    with place(directory) as stores, progress() as tell:
        found = run(stores, tell)
    report.show(found, style)
