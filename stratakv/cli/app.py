"""The command group: every error becomes one line and an exit status here, and nowhere else."""

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from stratakv import StrataKVError
from stratakv.cli import data, streams, upkeep
from stratakv.cli.maintain import maintain
from stratakv.cli.serve import serve
from stratakv.cli.status import FAILED, OK, TERMINATED
from stratakv.processes import allow_all_descriptors


class _Commands(click.Group):
    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse the arguments, which writes what `--help` and `--version` ask for."""
        with _told(), streams.naming_stdout():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command named; return its exit status."""
        with _told():
            status = super().invoke(ctx)
            streams.flush_stdout()  # here, where a full disk is still reported
            return status


@contextmanager
def _told() -> Iterator[None]:
    """End the program with one line and an exit status where the block fails."""
    try:
        yield
    except BrokenPipeError:  # whoever read us (`| head`) has enough, which is no failure
        streams.abandon_stdout()
        raise click.exceptions.Exit(OK) from None
    except (StrataKVError, OSError) as error:
        streams.finish_stdout()
        raise click.exceptions.Exit(_failure("stratakv", _reason(error))) from error
    except (KeyboardInterrupt, SystemExit):
        streams.abandon_stdout()  # whoever reads us may be slow, and a signal is not to wait for that
        raise


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="stratakv")
@click.pass_context
def stratakv(ctx: click.Context) -> int:
    """Read, write and look after a StrataKV store, the directory DIR.

    Exit status: 0 done, 1 no such key or damage found, 2 an error, 130 interrupted, 143 terminated.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return FAILED
    return OK


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status.

    Raises KeyboardInterrupt when interrupted, and SystemExit at SIGTERM.
    """
    logging.basicConfig(format="stratakv: %(message)s", level=logging.WARNING)
    warnings.showwarning = _show_warning
    allow_all_descriptors()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # and whoever started us does not want it ignored
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(stratakv.main(list(arguments), prog_name="stratakv", standalone_mode=False) or OK)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        return _failure(_command_path(error), error.format_message())


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """End in order, as at Ctrl-C: what is half-done is cleaned up. `serve` and `--watch` have their own."""
    raise SystemExit(TERMINATED)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"stratakv: warning: {message}", err=True)


def _failure(where: str, reason: str) -> int:
    # Not print: with standard error closed, it would write to standard output, in place of a value.
    click.echo(f"{where}: {' '.join(reason.split())}", err=True)
    return FAILED


def _command_path(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return context.command_path if context else "stratakv"


def _reason(error: Exception) -> str:
    if isinstance(error, StrataKVError) or not isinstance(error, OSError):
        return str(error)  # written for people, with the path and with advice
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


for command in (
    data.get,
    data.put,
    data.delete,
    data.scan,
    upkeep.stats,
    upkeep.verify,
    upkeep.compact,
    upkeep.recover,
    upkeep.backup,
    maintain,
    serve,
):
    stratakv.add_command(command)
