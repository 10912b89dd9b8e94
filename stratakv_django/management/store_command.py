"""What the commands share: the store of an alias, a progress bar, a report, an exit status.

Exit status: 0 done, 1 the work failed or found damage, 2 the command was used wrongly.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

import stratakv
from stratakv_django import conf, handles
from stratakv_django.checks import stratakv_aliases

FAILED, MISUSED = 1, 2

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class StoreCommand(BaseCommand):
    """A command on the store of one cache alias; a subclass says in `work` what is done with it."""

    requires_system_checks = ()  # a site that fails its checks must still be able to repair its cache
    judges = True  # whether the text says "ok"; JSON always does

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--cache", metavar="ALIAS", default="default", help="alias in CACHES; default: default"
        )
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="of the report; default: text"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.alias = options["cache"]
        self._no_color = options["no_color"]
        cache = _cache_settings(self.alias)
        try:
            report = self.work(cache, options) if Path(cache.path).is_dir() else self.missing(cache, options)
        except (stratakv.StrataKVError, OSError) as error:
            raise CommandError(str(error), returncode=FAILED) from error
        problem = self.problem(report)
        fields = dataclasses.asdict(report)
        if self.judges or options["format"] == "json":
            fields = {"ok": problem is None, **fields}
        as_text = _json if options["format"] == "json" else _text
        try:
            self.stdout.write(as_text(fields))
            self.stdout.flush()
        except BrokenPipeError:  # whoever read us (`| head`) has enough; the status still tells
            _abandon(self.stdout)
        except OSError as error:
            raise CommandError(f"the report could not be written: {error}", returncode=FAILED) from error
        if problem:
            raise CommandError(problem, returncode=FAILED)

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> Any:
        """Do the work on the store and return its report, a dataclass."""
        raise NotImplementedError

    def missing(self, cache: conf.CacheSettings, options: dict[str, Any]) -> Any:
        """Return the report on a cache whose directory is missing, or raise CommandError."""
        if Path(cache.path).exists():
            raise CommandError(f"{cache.path} is not a directory; change LOCATION", returncode=FAILED)
        reason = "nothing has used it yet, or its directory cannot be made; `manage.py check` says which"
        raise CommandError(f"There is no cache in {cache.path}: {reason}", returncode=FAILED)

    def problem(self, report: Any) -> str | None:
        """Return in a sentence what in `report` makes the command exit with 1, or None."""
        return None

    def open(
        self, cache: conf.CacheSettings, *, read_only: bool = False
    ) -> AbstractContextManager[stratakv.DB]:
        """Open the store, for a block, with the options the site gives it but no maintenance behind it."""
        return handles.store(cache.path, cache.engine).briefly(read_only=read_only)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress | None]:
        """Yield what draws a progress bar on stderr; None where that is no terminal."""
        if not self.stderr.isatty() or find_spec("rich") is None:
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress as Bar

        # None: what the environment says.
        console = Console(stderr=True, no_color=True if self._no_color else None)
        with Bar(console=console, transient=True) as bar:
            task = bar.add_task(title)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _cache_settings(alias: str) -> conf.CacheSettings:
    if alias not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise CommandError(f"There is no cache {alias!r} in CACHES; it has: {known}", returncode=MISUSED)
    params = stratakv_aliases().get(alias)
    if params is None:
        backend = settings.CACHES[alias].get("BACKEND")
        raise CommandError(f"The cache {alias!r} is kept in {backend}, not in StrataKV", returncode=MISUSED)
    try:
        return conf.parse(params.get("LOCATION"), params)
    except ImproperlyConfigured as error:
        raise CommandError(f"CACHES[{alias!r}]: {error}", returncode=MISUSED) from error


def _abandon(output: OutputWrapper) -> None:
    """Send the rest of the output nowhere; else the interpreter would fail to flush it at exit."""
    with suppress(OSError):  # of what is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def _json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, default=str)


def _text(report: dict[str, Any]) -> str:
    width = max(map(len, report), default=0)
    lines = (f"{name.replace('_', ' '):<{width}}  {_field(name, value)}" for name, value in report.items())
    return "\n".join(lines)


def _field(name: str, value: Any) -> str:
    """A value with its unit beside it, where its name tells that it has one."""
    if name == "max_bytes" and not value:
        return "no limit"
    if name.endswith("bytes") and value >= 1024:
        return f"{value:,} ({_size(value)})"
    return _duration(value) if name == "age" else _shown(value)


def _size(count: float) -> str:
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def _duration(seconds: float) -> str:
    """Return days, hours, minutes and seconds, without those in front that are 0."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days:,} d", f"{hours} h", f"{minutes} min", f"{rest} s"]
    return " ".join(parts[next((at for at, n in enumerate((days, hours, minutes)) if n), 3) :])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_field(name, each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return "".join(f"\n  {_shown(each)}" for each in value) or "none"
    return "none" if value is None else str(value)
