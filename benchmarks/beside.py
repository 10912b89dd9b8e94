"""The commands that measure StrataKV beside others."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import arguments, django_cache, engine, full, hitratio, larger, traces
from benchmarks import processes as crowds
from benchmarks.arguments import measure
from benchmarks.contest import Contest
from benchmarks.control_group import NoControlGroupError

_TRACES = Path(__file__).parents[2] / "shared" / "traces"
_IN_MEMORY = Path("/dev/shm")
_turns = arguments.rounds(25, "How often the peers take turns in each operation.")


@click.command("engine")
@arguments.count("--keys", 100_000)
@arguments.value_bytes
@_turns
@arguments.directory
@arguments.style
def _engine(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """Put, get, miss and delete: the engine beside LMDB, RocksDB, LevelDB and diskcache."""
    _compare(engine.CONTEST, keys, value_bytes, rounds, directory, style)


@click.command("django")
@arguments.count("--keys", 100_000)
@arguments.value_bytes
@_turns
@arguments.directory
@arguments.style
def _django(keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str) -> None:
    """The same through Django's cache API, with text: beside LocMemCache and diskcache."""
    _compare(django_cache.CONTEST, keys, value_bytes, rounds, directory, style)


def _compare(
    contest: Contest, keys: int, value_bytes: int, rounds: int, directory: Path | None, style: str
) -> None:
    if keys < rounds:
        raise click.UsageError(f"{rounds} rounds need at least as many keys, not {keys}.")
    measure(lambda place, progress: contest.run(place, keys, value_bytes, rounds, progress), directory, style)


@click.command("processes")
@arguments.count("--keys", 50_000)
@arguments.value_bytes
@arguments.count("--processes", 8, "How many use each store at once.")
@arguments.rounds(7, "How often the peers take turns.")
@arguments.seconds(2, "How long each turn lasts.")
@arguments.directory
@arguments.style
def _processes(
    keys: int,
    value_bytes: int,
    processes: int,
    rounds: int,
    seconds: float,
    directory: Path | None,
    style: str,
) -> None:
    """Many processes that get and put at once: beside LMDB, diskcache and Redis."""
    measure(
        lambda place, progress: crowds.run(place, keys, value_bytes, processes, rounds, seconds, progress),
        directory,
        style,
    )


@click.command("full")
@arguments.count("--max-bytes", 64 * 2**20, "What each may take.")
@arguments.value_bytes
@arguments.rounds(7, "How often the peers take turns.")
@arguments.seconds(3, "How long each turn lasts.")
@arguments.directory
@arguments.style
def _full(
    max_bytes: int, value_bytes: int, rounds: int, seconds: float, directory: Path | None, style: str
) -> None:
    """Get, and put what is not there, in caches that are full: beside diskcache and Redis."""
    measure(
        lambda place, progress: full.run(place, max_bytes, value_bytes, rounds, seconds, progress),
        directory,
        style,
    )


@click.command("larger")
@arguments.count("--keys", 131_072)
@arguments.count("--value-bytes", 8192, "Length of each value.")
@arguments.count("--memory-bytes", 256 * 2**20, "That the reading process has, cache of the kernel included.")
@arguments.rounds(5, "How often the peers take turns.")
@arguments.seconds(8, "How long each is measured.")
@arguments.directory
@arguments.style
def _larger(
    keys: int,
    value_bytes: int,
    memory_bytes: int,
    rounds: int,
    seconds: float,
    directory: Path | None,
    style: str,
) -> None:
    """Get, from stores larger than memory: beside LMDB, RocksDB, LevelDB and diskcache. Needs root."""
    try:
        measure(
            lambda place, tell: larger.run(place, keys, value_bytes, memory_bytes, rounds, seconds, tell),
            directory,
            style,
        )
    except NoControlGroupError as reason:
        raise click.UsageError(f"No control group can be made: {reason}.") from reason


@click.command("hitratio")
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
        # The disk changes no hit ratio, and waiting for it would take most of the time.
        directory = _IN_MEMORY
    measure(lambda place, progress: hitratio.run(folder, place, progress), directory, style)


COMMANDS = (_engine, _django, _processes, _full, _larger, _hitratio)
