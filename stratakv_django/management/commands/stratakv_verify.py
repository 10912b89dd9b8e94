"""`manage.py stratakv_verify`: read everything in the store of a cache and check it."""

from typing import Any

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = "Read the whole store of a cache and check it; exits with 1 if anything is damaged."

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> stratakv.VerifyReport:
        with self.open(cache) as db, self.progress("Verifying") as progress:
            return db.verify(progress)

    def problem(self, report: stratakv.VerifyReport) -> str | None:
        if report.ok:
            return None
        return (
            f"Damaged places: {len(report.damage):,}. "
            f"Stop the site and run: manage.py stratakv_recover --cache {self.alias}"
        )
