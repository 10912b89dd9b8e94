"""stats, verify, compact, recover, backup: the care of a store."""

from pathlib import Path

import click

import stratakv
from stratakv.cli import report, streams
from stratakv.cli.arguments import (
    Command,
    Directory,
    directory_argument,
    format_option,
    open_for_reading,
    open_for_writing,
)
from stratakv.cli.progress import progress_bar
from stratakv.cli.status import DAMAGED, OK


@click.command(cls=Command)
@directory_argument
@format_option
def stats(directory: Path, style: str) -> int:
    """Show what the store holds."""
    with open_for_reading(directory) as db:
        report.show(db.stats(), style)
    return OK


@click.command(cls=Command)
@directory_argument
@click.option("--repair", is_flag=True, help="Mend what can be mended, while others use the store.")
@format_option
def verify(directory: Path, repair: bool, style: str) -> int:
    """Check every byte of the store.

    Exits with status 1 when something is damaged, or with --repair when something still is, or was lost.
    """
    opened = open_for_writing(directory) if repair else open_for_reading(directory)
    with opened as db, progress_bar("verify") as progress:
        found = db.verify(progress=progress, repair=repair)
    report.show(found, style)
    if not found.ok and style == "text":
        command, when = ("recover", "while nobody uses it") if repair else ("verify --repair", "meanwhile")
        streams.write_line(f"To mend it, {when}: python -m stratakv {command} {directory}")
    return OK if found.ok and not found.lost_records else DAMAGED


@click.command(cls=Command)
@directory_argument
@format_option
def compact(directory: Path, style: str) -> int:
    """Free the space of old values.

    Merges the sealed segments, without what was replaced, deleted or has expired, while others use them.
    All at once; `maintain` does only what is worth it.
    """
    with open_for_writing(directory) as db, progress_bar("compact") as progress:
        done = db.compact(progress=progress)
    report.show(done, style)
    return OK


@click.command(cls=Command)
@directory_argument
@click.option(
    "--mode",
    type=click.Choice(["point-in-time", "strict", "salvage"]),
    default="point-in-time",
    show_default=True,
    help="On damage: keep what came before it, change nothing, or keep all that is sound.",
)
@format_option
def recover(directory: Path, mode: str, style: str) -> int:
    """Rebuild a broken store from its logs.

    Nobody may have it open. Exits with status 1 when something was damaged;
    the report says what was lost.
    """
    with progress_bar("recover") as progress:
        done = stratakv.recover(directory, mode=mode, progress=progress)
    report.show(done, style)
    return DAMAGED if done.damage else OK


@click.command(cls=Command)
@directory_argument
@click.argument("target", metavar="TARGET", type=Directory())
@format_option
def backup(directory: Path, target: Path, style: str) -> int:
    """Copy the store to a new directory.

    TARGET gets the store as it is now, while others go on writing.
    """
    with open_for_reading(directory) as db, progress_bar("backup") as progress:
        done = db.backup(target, progress=progress)
    report.show(done, style)
    return OK
