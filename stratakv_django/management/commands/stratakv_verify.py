"""`manage.py stratakv_verify`: read everything in the store of a cache, check it, and mend what can be."""

from typing import Any

from django.core.management.base import CommandParser

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = (
        "Read and check the whole store of a cache while the site runs; exits with 1 if anything is damaged."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--repair", action="store_true", help="mend what can be mended")

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> stratakv.VerifyReport:
        self.repaired = options["repair"]
        opened = self.open(cache, read_only=not self.repaired)
        with opened as db, self.progress("Verifying") as progress:
            return db.verify(progress, repair=self.repaired)

    def problem(self, report: stratakv.VerifyReport) -> str | None:
        if report.ok and report.lost_records:
            return f"Mended, but for records that are lost, and misses from now on: {report.lost_records:,}."
        if report.ok:
            return None
        found = f"Damaged places: {len(report.damage):,}."
        if self.repaired:
            return f"{found} Stop the site and run: manage.py stratakv_recover --cache {self.alias}"
        return f"{found} Run: manage.py stratakv_verify --repair --cache {self.alias}"
