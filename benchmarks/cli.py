"""The commands of `python -m benchmarks`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from benchmarks import django_cache, engine, opening, report

_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Where the stores are made, and removed again.  [default: the system's temporary directory]",
)
_value_bytes = click.option(
    "--value-bytes", type=click.IntRange(1), default=1024, show_default=True, help="Length of each value."
)
_format = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True
)


def _keys(default: int) -> Callable[..., Callable[..., None]]:
    return click.option("--keys", type=click.IntRange(1), default=default, show_default=True)


def _rounds(default: int, meaning: str) -> Callable[..., Callable[..., None]]:
    # Quartiles need two samples.
    return click.option("--rounds", type=click.IntRange(2), default=default, show_default=True, help=meaning)


@click.group()
def benchmarks() -> None:
    """Measure StrataKV beside other stores, all in one run, and print what was found."""


_Compare = Callable[[Path, int, int, int, Callable[[str], None]], report.Report]


@benchmarks.command("engine")
@_keys(100_000)
@_value_bytes
@_rounds(25, "How often the peers take turns in each operation.")
@_directory
@_format
def _engine(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """Put, get, miss and delete: the engine beside LMDB and diskcache."""
    _compare(engine.run, keys, value_bytes, rounds, directory, style)


@benchmarks.command("django")
@_keys(100_000)
@_value_bytes
@_rounds(25, "How often the peers take turns in each operation.")
@_directory
@_format
def _django(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """The same through Django's cache API, with text: beside LocMemCache and diskcache."""
    _compare(django_cache.run, keys, value_bytes, rounds, directory, style)


@benchmarks.command("open")
@_keys(1_000_000)
@_value_bytes
@_rounds(9, "How many fresh processes open each store.")
@_directory
@_format
def _open(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """How long opening a large store takes, and how much memory of its own the process needs for it."""
    with _place(directory) as place, _progress() as progress:
        found = opening.run(place, keys, value_bytes, rounds, progress)
    report.show(found, style)


def _compare(
    run: _Compare, keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str
) -> None:
    if keys < rounds:
        raise click.UsageError(f"{rounds} rounds need at least as many keys, not {keys}.")
    with _place(directory) as place, _progress() as progress:
        found = run(place, keys, value_bytes, rounds, progress)
    report.show(found, style)


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    """A new directory for the stores, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="stratakv-benchmark-", dir=directory) as name:
        yield Path(name)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being measured, on a terminal; nothing elsewhere."""
    with Console(stderr=True).status("preparing") as status:
        yield status.update
