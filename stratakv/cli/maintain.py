"""maintain: the maintenance of a store in the foreground, once or under a supervisor."""

import logging
import math
import signal
import sys
from pathlib import Path
from traceback import walk_stack
from types import FrameType

import click

from stratakv.cli import report
from stratakv.cli.arguments import directory_argument, format_option, max_bytes_option, open_for_writing
from stratakv.cli.status import OK


@click.command
@directory_argument
@max_bytes_option
@click.option("--watch", is_flag=True, help="Go on, for what becomes due, until SIGTERM or Ctrl-C.")
@format_option
def maintain(directory: Path, max_bytes: int | None, watch: bool, style: str) -> int:
    """Finish, merge and evict what is due.

    While others use the store, and instead of what their processes would do in the background. Ends with
    a report; with --watch, it writes a line to standard error for each task instead, and ends at SIGTERM
    with status 0.
    """
    if watch or _on_terminal():
        logging.getLogger("stratakv").setLevel(logging.INFO)  # where each task is told
    if watch:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGALRM, _stop)
    with open_for_writing(directory, max_bytes=max_bytes) as db:
        if watch:
            click.echo(f"stratakv: watching {db.path}", err=True)
        done = db.maintain(linger=math.inf if watch else 0.0)
    report.show(done, style)
    return OK


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _stop(_signal: int, frame: FrameType | None) -> None:
    """End the process in order, as Ctrl-C does: a task that is given up removes what it has written."""
    if any(caller.f_code.co_name == "__del__" for caller, _ in walk_stack(frame)):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # what is raised in a destructor is lost: ask again
    else:
        raise SystemExit(OK)
