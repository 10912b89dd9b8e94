"""The commands of `python -m benchmarks`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import (
    arguments,
    budget,
    django_cache,
    engine,
    hitratio,
    latency,
    merging,
    opening,
    report,
    seed,
    traces,
)

_TRACES = Path(__file__).parents[2] / "shared" / "traces"
_IN_MEMORY = Path("/dev/shm")
_Compare = Callable[[Path, int, int, int, Callable[[str], None]], report.Report]
_turns = arguments.rounds(25, "How often the peers take turns in each operation.")


@click.group()
def benchmarks() -> None:
    """Measure StrataKV, beside other stores or under a load of its own, and print what was found."""


# -- beside others ---------------------------------------------------------------------------------------


@benchmarks.command("engine")
@arguments.count("--keys", 100_000)
@arguments.value_bytes
@_turns
@arguments.directory
@arguments.style
def _engine(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """Put, get, miss and delete: the engine beside LMDB and diskcache."""
    _compare(engine.run, keys, value_bytes, rounds, directory, style)


@benchmarks.command("django")
@arguments.count("--keys", 100_000)
@arguments.value_bytes
@_turns
@arguments.directory
@arguments.style
def _django(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """The same through Django's cache API, with text: beside LocMemCache and diskcache."""
    _compare(django_cache.run, keys, value_bytes, rounds, directory, style)


def _compare(
    run: _Compare, keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str
) -> None:
    if keys < rounds:
        raise click.UsageError(f"{rounds} rounds need at least as many keys, not {keys}.")
    _measure(lambda place, progress: run(place, keys, value_bytes, rounds, progress), directory, style)


@benchmarks.command("hitratio")
@click.option(
    "--traces",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=_TRACES,
    help="Folder of the traces.  [default: ../shared/traces, beside the checkout]",
)
@arguments.directory
@arguments.style
def _hitratio(folder: Path, directory: Path | None, style: str) -> None:
    """How often a store with a budget has what is asked for, beside FIFO, LRU and S3-FIFO."""
    missing = traces.missing_from(folder)
    if missing:
        raise click.UsageError(
            f"{folder} has no {', '.join(missing)}; name the folder of the traces with --traces."
        )
    if directory is None and _IN_MEMORY.is_dir():
        directory = (
            _IN_MEMORY  # the disk changes no hit ratio, and waiting for it would take most of the time
        )
    _measure(lambda place, progress: hitratio.run(folder, place, progress), directory, style)


# -- alone -----------------------------------------------------------------------------------------------


@benchmarks.command("open")
@arguments.count("--keys", 1_000_000)
@arguments.value_bytes
@arguments.rounds(9, "How many fresh processes open each store.")
@arguments.directory
@arguments.style
def _open(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """How long opening a large store takes, and how much memory of its own the process needs for it."""
    _measure(
        lambda place, progress: opening.run(place, keys, value_bytes, rounds, progress), directory, style
    )


@benchmarks.command("budget")
@arguments.count("--max-bytes", 256 * 2**20, "The budget.", least=2**18)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1),
    default=60,
    show_default=True,
    help="How long each store is written to.",
)
@arguments.directory
@arguments.style
def _budget(max_bytes: int, seconds: float, directory: Path | None, style: str) -> None:
    """How much of the disk a store with a budget takes while processes write all they can."""
    _measure(lambda place, progress: budget.run(place, max_bytes, seconds, progress), directory, style)


@benchmarks.command("latency")
@arguments.count("--keys", 1_000_000)
@arguments.value_bytes
@arguments.rounds(3, "How many stores are merged.")
@arguments.durability("interval")
@arguments.directory
@arguments.style
def _latency(
    keys: int, value_bytes: int, rounds: int, durability: str, directory: Path | None, style: str
) -> None:
    """How long gets and puts take while a merge is running, and without it."""
    _measure(
        lambda place, progress: latency.run(place, keys, value_bytes, rounds, durability, progress),
        directory,
        style,
    )


@benchmarks.command("merge")
@arguments.count("--small-records", 2_000_000, f"How many values of {merging.SMALL_BYTES} bytes are merged.")
@arguments.count("--large-records", 131_072, f"How many values of {merging.LARGE_BYTES:,} bytes are merged.")
@arguments.rounds(3, "How often each is merged.")
@arguments.directory
@arguments.style
def _merge(small_records: int, large_records: int, rounds: int, directory: Path | None, style: str) -> None:
    """How fast segments are merged, and how much memory of its own the process needs for it."""
    _measure(
        lambda place, progress: merging.run(place, small_records, large_records, rounds, progress),
        directory,
        style,
    )


@benchmarks.command("seed")
# Of fewer keys it could happen that none is left.
@arguments.count("--keys", 50_000, "How many are inserted.", least=100)
@arguments.durability("os")
@arguments.directory
@arguments.style
def _seed(keys: int, durability: str, directory: Path | None, style: str) -> None:
    """Inserts, overwrites, deletes, gets and a compaction, and what they leave on the disk."""
    _measure(lambda place, progress: seed.run(place, keys, durability, progress), directory, style)


def _measure(
    run: Callable[[Path, Callable[[str], None]], report.Report], directory: Path | None, style: str
) -> None:
    with arguments.place(directory) as place, arguments.progress() as progress:
        found = run(place, progress)
    report.show(found, style)
