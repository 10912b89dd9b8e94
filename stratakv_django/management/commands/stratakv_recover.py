"""`manage.py stratakv_recover`: rebuild the store of a cache from its logs, even one that does not open."""

from typing import Any

from django.core.management.base import CommandParser

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = "Rebuild a cache's store from its logs. Stop the site first: nobody else may have the store open."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--mode",
            choices=("point-in-time", "strict", "salvage"),
            default="point-in-time",
            help="at damage: keep what is before it, change nothing and fail, or keep all that is sound",
        )

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> stratakv.RecoveryReport:
        with self.progress("Recovering") as progress:
            return stratakv.recover(cache.path, mode=options["mode"], progress=progress)

    def problem(self, report: stratakv.RecoveryReport) -> str | None:
        if not report.damage:
            return None
        if report.lost_bytes:
            return "The store is sound again, but something was lost: see the findings."
        return (
            "The store is sound again, and nothing is known to be lost; what was damaged: see the findings."
        )
