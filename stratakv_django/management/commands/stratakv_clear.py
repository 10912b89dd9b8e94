"""`manage.py stratakv_clear`: empty a cache, and give its space back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratakv_django import conf, naming
from stratakv_django.checks import stratakv_aliases
from stratakv_django.management.store_command import StoreCommand


@dataclass(frozen=True)
class ClearReport:
    """What was removed: all with this KEY_PREFIX. disk_bytes_before, disk_bytes_after: of the whole store."""

    key_prefix: str
    disk_bytes_before: int
    disk_bytes_after: int


class Command(StoreCommand):
    help = "Remove every entry of a cache's KEY_PREFIX, in all its versions, and nothing else from its store."

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> ClearReport:
        with self.open(cache) as db:
            before = db.stats().disk_bytes
            db.delete_prefix(naming.namespace(self._key_prefix()))
            db.maintain()
            return ClearReport(self._key_prefix(), before, db.stats().disk_bytes)

    def missing(self, cache: conf.CacheSettings, options: dict[str, Any]) -> ClearReport:
        if Path(cache.path).exists():
            super().missing(cache, options)
        # Never used, and so empty: the first deployment of a site may clear its cache as any other does.
        return ClearReport(self._key_prefix(), 0, 0)

    def _key_prefix(self) -> str:
        return str(stratakv_aliases()[self.alias].get("KEY_PREFIX", ""))
