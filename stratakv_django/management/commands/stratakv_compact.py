"""`manage.py stratakv_compact`: give the space of replaced, deleted and expired values back to the disk."""

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = (
        "Rewrite a cache's store without what was replaced, deleted or has expired. The site may go on. "
        "With --watch, do instead what is due, as it becomes due, until SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--watch",
            action="store_true",
            help="do the maintenance until stopped, for sites with the option maintenance='manual'",
        )

    def work(
        self, cache: conf.CacheSettings, options: dict[str, Any]
    ) -> stratakv.CompactionReport | stratakv.MaintenanceReport:
        if not options["watch"]:
            with self.open(cache) as db, self.progress("Compacting") as progress:
                return db.compact(progress)
        with stopped() as stop, self.telling_tasks(), self.open(cache) as db:
            self.say(f"watching {cache.path}")
            return db.maintain(math.inf, stop)

    def missing(self, cache: conf.CacheSettings, options: dict[str, Any]) -> Any:
        # The site may begin to use it at any time.
        return self.work(cache, options) if options["watch"] else super().missing(cache, options)

    def say(self, line: str) -> None:
        self.stderr.write(line, style_func=str)  # as it is: no error, so not in red

    @contextmanager
    def telling_tasks(self) -> Iterator[None]:
        """Write a line for each task, whatever the site does with its logs."""
        logger = logging.getLogger("stratakv")
        handler, level = _Lines(self.say), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Hands each record on as text."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))


@contextmanager
def stopped() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether SIGTERM or Ctrl-C has come, which is how a watch ends, with status 0."""
    seen = threading.Event()
    numbers = signal.SIGTERM, signal.SIGINT
    before = {number: signal.signal(number, lambda signum, frame: seen.set()) for number in numbers}
    try:
        yield seen.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
