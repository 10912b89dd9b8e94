"""The commands that measure StrataKV under a load of its own."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import arguments, budget, latency, merging, opening, seed, steps
from benchmarks.arguments import measure


@click.command("open")
@arguments.count("--keys", 1_000_000)
@arguments.value_bytes
@arguments.rounds(9, "How many fresh processes open each store.")
@arguments.directory
@arguments.style
def _open(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """How long opening a large store takes, and how much memory of its own the process needs for it."""
    measure(lambda place, progress: opening.run(place, keys, value_bytes, rounds, progress), directory, style)


@click.command("budget")
@arguments.count("--max-bytes", 256 * 2**20, "The budget.", least=2**18)
@arguments.seconds(60, "How long each store is written to.", least=0.1)
@arguments.directory
@arguments.style
def _budget(max_bytes: int, seconds: float, directory: Path | None, style: str) -> None:
    """How much of the disk a store with a budget takes while processes write all they can."""
    measure(lambda place, progress: budget.run(place, max_bytes, seconds, progress), directory, style)


@click.command("latency")
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
    measure(
        lambda place, progress: latency.run(place, keys, value_bytes, rounds, durability, progress),
        directory,
        style,
    )


@click.command("merge")
@arguments.count("--small-records", 2_000_000, f"How many values of {merging.SMALL_BYTES} bytes are merged.")
@arguments.count("--large-records", 131_072, f"How many values of {merging.LARGE_BYTES:,} bytes are merged.")
@arguments.rounds(3, "How often each is merged.")
@arguments.directory
@arguments.style
def _merge(small_records: int, large_records: int, rounds: int, directory: Path | None, style: str) -> None:
    """How fast segments are merged, and how much memory of its own the process needs for it."""
    measure(
        lambda place, progress: merging.run(place, small_records, large_records, rounds, progress),
        directory,
        style,
    )


@click.command("seed")
# Of fewer keys it could happen that none is left.
@arguments.count("--keys", 50_000, "How many are inserted.", least=100)
@arguments.durability("os")
@arguments.log_bytes
@arguments.rounds(5, "How often the store is opened in each state at the end.")
@arguments.directory
@arguments.style
def _seed(
    keys: int, durability: str, log_bytes: int, rounds: int, directory: Path | None, style: str
) -> None:
    """Inserts, overwrites, deletes, gets and a compaction, what they leave on the disk, and opening that."""
    measure(
        lambda place, progress: seed.run(place, keys, durability, log_bytes, rounds, progress),
        directory,
        style,
    )


@click.command("steps")
@arguments.count("--keys", 100_000)
@arguments.value_bytes
@arguments.rounds(9, "How often each step is timed.")
@arguments.directory
@arguments.style
def _steps(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """What a get and a put are made of, call by call."""
    measure(lambda place, progress: steps.run(place, keys, value_bytes, rounds, progress), directory, style)


COMMANDS = (_open, _budget, _latency, _merge, _seed, _steps)
