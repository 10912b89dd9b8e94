"""serve: the HTTP interface (docs/http.md)."""

import os
from importlib.util import find_spec
from pathlib import Path

import click

from stratakv.cli import streams
from stratakv.cli.arguments import Command, directory_argument, max_bytes_option, mode_of
from stratakv.options import Durability


@click.command(cls=Command)
@directory_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one."
)
@click.option(
    "--durability",
    type=click.Choice([str(level) for level in Durability]),
    default="always",
    show_default=True,
)
@max_bytes_option
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the token that clients must send; instead of the variable STRATAKV_TOKEN.",
)
@click.option(
    "--max-request-bytes", type=click.IntRange(min=1), default=16 * 2**20, show_default=True, metavar="BYTES"
)
def serve(
    directory: Path,
    host: str,
    port: int,
    durability: str,
    max_bytes: int | None,
    token_file: Path | None,
    max_request_bytes: int,
) -> int:
    """Serve the store over HTTP.

    Until SIGTERM or Ctrl-C. Makes the store where there is none.
    """
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise click.UsageError(f"{' and '.join(missing)} not installed; run: pip install 'stratakv[server]'")
    from stratakv.server.serve import serve as serve_until_stopped

    serve_until_stopped(
        directory,
        host=host,
        port=port,
        durability=durability,
        mode=mode_of(directory),
        max_bytes=max_bytes,
        token=_token(token_file),
        max_request_bytes=max_request_bytes,
        announce=streams.write_line,
    )


def _token(token_file: Path | None) -> str | None:
    """The token, from a file or the environment: a command line is readable by every user of the machine."""
    if token_file is not None:
        token, source = token_file.read_text(errors="replace").strip(), str(token_file)
    elif "STRATAKV_TOKEN" in os.environ:
        token, source = os.environ["STRATAKV_TOKEN"], "STRATAKV_TOKEN"
    else:
        return None
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        raise click.UsageError(f"{source}: a token is one word of printable ASCII characters.")
    return token
