"""maintain: the maintenance of a store in the foreground, once or under a supervisor."""

import logging
import math
import signal
import sys
import threading
from pathlib import Path

import click

from stratakv.cli import report
from stratakv.cli.arguments import (
    Command,
    directory_argument,
    format_option,
    max_bytes_option,
    open_for_writing,
)
from stratakv.cli.status import OK


@click.command(cls=Command)
@directory_argument
@max_bytes_option
@click.option("--watch", is_flag=True, help="Go on, for what becomes due, until SIGTERM or Ctrl-C.")
@format_option
def maintain(directory: Path, max_bytes: int | None, watch: bool, style: str) -> int:
    """Do the maintenance that is due: finish indexes, merge segments, evict.

    Others may use the store meanwhile, and need not do it in the background then. Ends with a report. With
    --watch, it writes a line to standard error for each task as well, and ends at SIGTERM or Ctrl-C, with
    status 0.
    """
    if watch or _on_terminal():
        logging.getLogger("stratakv").setLevel(logging.INFO)  # where each task is told
    stopped = threading.Event()
    if watch:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda signum, frame: stopped.set())
    with open_for_writing(directory, max_bytes=max_bytes) as db:
        if watch:
            click.echo(f"stratakv: watching {db.path}", err=True)
        done = db.maintain(math.inf if watch else 0.0, stopped.is_set)
    report.show(done, style)
    return OK


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
