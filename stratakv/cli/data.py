"""get, put, delete, scan: the records of a store."""

import json
import os
import sys
from itertools import islice
from pathlib import Path

import click

from stratakv.cli import streams
from stratakv.cli.arguments import (
    Command,
    bound_bytes,
    directory_argument,
    format_option,
    hex_option,
    key_argument,
    key_bytes,
    open_for_reading,
    open_for_writing,
    text_bytes,
)
from stratakv.cli.encoding import as_field, as_line
from stratakv.cli.status import NOT_FOUND, OK
from stratakv.options import Options


@click.command(cls=Command)
@directory_argument
@key_argument
@hex_option
def get(directory: Path, key: str, hexadecimal: bool) -> int:
    """Write the value of KEY.

    It goes to standard output, byte for byte. Exits with status 1 when there is no such key.
    """
    name = key_bytes(key, hexadecimal=hexadecimal)
    with open_for_reading(directory) as db:
        value = db.get(name)
    if value is None:
        return _no_such_key()
    streams.write(value)
    return OK


def _not_negative(_: click.Context, __: click.Parameter, seconds: float | None) -> float | None:
    if seconds is None or seconds >= 0:  # so that NaN is refused as well
        return seconds
    raise click.BadParameter("must be a number of seconds, 0 or more.")


@click.command(cls=Command)
@directory_argument
@key_argument
@click.argument("value", metavar="[VALUE]", default="-")
@hex_option
@click.option(
    "--ttl", type=float, metavar="SECONDS", callback=_not_negative, help="Let the entry expire after that."
)
def put(directory: Path, key: str, value: str, hexadecimal: bool, ttl: float | None) -> int:
    """Store VALUE under KEY.

    Makes the store where there is none. Without VALUE, or with -, the value is what standard input
    holds, byte for byte. Write -- before a KEY or a VALUE that begins with a dash.
    """
    name = key_bytes(key, hexadecimal=hexadecimal)
    data = _value_from_stdin() if value == "-" else os.fsencode(value)
    with open_for_writing(directory, create=True) as db:
        db.put(name, data, ttl=ttl)
    return OK


def _value_from_stdin() -> bytearray:
    # One byte more than a value may have: enough for the engine to refuse it, however much follows.
    return streams.read_stdin(Options().max_value_bytes + 1)


@click.command(cls=Command)
@directory_argument
@key_argument
@hex_option
def delete(directory: Path, key: str, hexadecimal: bool) -> int:
    """Delete KEY.

    Exits with status 1 when there is no such key.
    """
    name = key_bytes(key, hexadecimal=hexadecimal)
    with open_for_writing(directory) as db:
        found = db.delete(name)
    return OK if found else _no_such_key()


@click.command(cls=Command)
@directory_argument
@click.option("--prefix", metavar="KEY", default="", help="Only keys that begin with this.")
@click.option("--start", metavar="KEY", help="Only keys from this one on.")
@click.option("--stop", metavar="KEY", help="Only keys before this one.")
@click.option("--limit", type=click.IntRange(1, sys.maxsize), metavar="N", help="No more than N records.")
@click.option("--keys-only", is_flag=True, help="Leave out the values.")
@hex_option
@format_option
def scan(
    directory: Path,
    prefix: str,
    start: str | None,
    stop: str | None,
    limit: int | None,
    keys_only: bool,
    hexadecimal: bool,
    style: str,
) -> int:
    """Write the records in key order.

    One on each line. As text, a line holds key, tab, value, escaped as `printf %b` reads it back.
    As JSON, a line is an object with "key" and "value"; what is not UTF-8 is in "key_base64" or
    "value_base64", and with --hex the key is in "key_hex".
    """
    beginning = text_bytes(prefix, hexadecimal=hexadecimal)
    lower, upper = (bound_bytes(text, hexadecimal=hexadecimal) for text in (start, stop))
    line = _json_line if style == "json" else _text_line
    with open_for_reading(directory) as db:
        for key, value in islice(db.scan(beginning, lower, upper), limit):
            streams.write(line(key, None if keys_only else value, hexadecimal).encode() + b"\n")
    return OK


def _text_line(key: bytes, value: bytes | None, hexadecimal: bool) -> str:
    shown = key.hex() if hexadecimal else as_line(key)
    return shown if value is None else f"{shown}\t{as_line(value)}"


def _json_line(key: bytes, value: bytes | None, hexadecimal: bool) -> str:
    fields = {"key_hex": key.hex()} if hexadecimal else as_field("key", key)
    if value is not None:
        fields |= as_field("value", value)
    return json.dumps(fields, ensure_ascii=False)


def _no_such_key() -> int:
    click.echo("stratakv: no such key", err=True)
    return NOT_FOUND
