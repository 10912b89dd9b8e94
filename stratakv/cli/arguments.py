"""What the commands share: their arguments and options, and opening the store."""

import os
import stat
from pathlib import Path
from typing import Any

import click

import stratakv
from stratakv.cli import streams
from stratakv.options import MAX_KEY_BYTES


class Command(click.Command):
    """A command whose help, where it cannot be written, is an error about standard output."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse the arguments, which writes what `--help` asks for."""
        with streams.naming_stdout():
            return super().make_context(*arguments, **named)


class Directory(click.Path):
    """A path. An empty word is refused: a variable without value, not the current directory."""

    def __init__(self) -> None:
        # Whether it may be read is for the engine to say, which also tells whose it is.
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the word names."""
        return super().convert(value, param, ctx) if value else self.fail("is empty.", param, ctx)


directory_argument = click.argument("directory", metavar="DIR", type=Directory())
key_argument = click.argument("key", metavar="KEY")
hex_option = click.option("--hex", "hexadecimal", is_flag=True, help="Keys are written in hexadecimal.")
max_bytes_option = click.option(
    "--max-bytes",
    type=int,
    metavar="BYTES",
    help="Budget of the store from now on, which it keeps by evicting; 0 lifts it.",
)
format_option = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True
)


def open_for_reading(directory: Path) -> stratakv.DB:
    """An existing store, while others may be writing to it."""
    return stratakv.open(directory, mode=mode_of(directory), create=False, read_only=True)


def open_for_writing(directory: Path, *, create: bool = False, max_bytes: int | None = None) -> stratakv.DB:
    """The store for one command; `max_bytes` is its budget from now on, None leaves it as it is."""
    # "manual": a command that ends in a moment should neither start a process for the maintenance nor end
    # one that has just begun. That is for the programs that stay, and for `maintain` and `compact`.
    mode = mode_of(directory)
    return stratakv.open(directory, mode=mode, create=create, max_bytes=max_bytes, maintenance="manual")


def mode_of(directory: Path) -> int:
    """The `mode` to open a store with: a directory that is open to its group alone is shared with the group.

    Raises DirectoryError for root and one of somebody else: a member of the group could make root write to
    any file that has a second name there.
    """
    try:
        found = directory.stat()
    except OSError:  # there is none, or opening it will say what is wrong
        return 0o700
    is_shared = bool(found.st_mode & stat.S_IWGRP) and not found.st_mode & stat.S_IRWXO
    if is_shared and found.st_uid and not os.geteuid():
        raise stratakv.DirectoryError(
            f"{directory} is shared by a group, and belongs to the user with the number {found.st_uid}: "
            f"run this as that user (`sudo -u '#{found.st_uid}' …`), not as root"
        )
    return 0o770 if is_shared else 0o700


def key_bytes(text: str, *, hexadecimal: bool) -> bytes:
    """The key that the command line names; `click.BadParameter` before any store is touched."""
    key = text_bytes(text, hexadecimal=hexadecimal)
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise click.BadParameter(f"a key has 1 to {MAX_KEY_BYTES:,} bytes, this one has {len(key):,}.")
    return key


def bound_bytes(text: str | None, *, hexadecimal: bool) -> bytes | None:
    """Where a scan starts or stops; None for no bound."""
    return None if text is None else text_bytes(text, hexadecimal=hexadecimal)


def text_bytes(text: str, *, hexadecimal: bool) -> bytes:
    """A key or a part of one, as bytes."""
    if not hexadecimal:
        return os.fsencode(text)  # the very bytes the shell passed
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not hexadecimal.") from None
