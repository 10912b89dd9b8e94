"""The commands that measure what a store endures: syncs, growth, and the end of its writers."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import arguments, recovery, scale, sync
from benchmarks.arguments import measure


@click.command("sync")
@arguments.count("--puts", 200, "How many in each round, alone.")
@arguments.value_bytes
@arguments.rounds(9, "How often each takes its turn.")
@arguments.seconds(1, "How long threads and processes put together, in each round.")
@arguments.directory
@arguments.style
def _sync(
    puts: int, value_bytes: int, rounds: int, seconds: float, directory: Path | None, style: str
) -> None:
    """Put with each on the disk: beside a bare loop of writes and syncs, and in company."""
    measure(
        lambda place, progress: sync.run(place, puts, value_bytes, rounds, seconds, progress),
        directory,
        style,
    )


_small_values = click.option(
    "--value-bytes", type=click.IntRange(1), default=100, show_default=True, help="Length of each value."
)


@click.command("scale")
@arguments.count("--most-keys", 10_000_000, "Of the largest store; the others have fewer.", least=2000)
@_small_values
@arguments.rounds(200, "How often the stores take turns.")
@arguments.directory
@arguments.style
def _scale(most_keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """Operations, opening, memory and index of stores that have a thousandth of the keys, to all of them."""
    measure(
        lambda place, progress: scale.run(place, most_keys, value_bytes, rounds, progress), directory, style
    )


@click.command("recovery")
@arguments.count("--most-keys", 1_000_000, "Of the largest store; the others have fewer.", least=10)
@_small_values
@arguments.log_bytes
@arguments.rounds(5, "How many copies of each store are brought back.")
@arguments.directory
@arguments.style
def _recovery(
    most_keys: int, value_bytes: int, log_bytes: int, rounds: int, directory: Path | None, style: str
) -> None:
    """Opening after a kill or a reboot, and recovery where files are lost."""
    measure(
        lambda place, progress: recovery.run(place, most_keys, value_bytes, log_bytes, rounds, progress),
        directory,
        style,
    )


COMMANDS = (_sync, _scale, _recovery)
