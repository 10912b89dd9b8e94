"""`manage.py stratakv_stats`: what the store of a cache holds."""

from typing import Any

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = "Print the statistics of the store that a cache is kept in."
    judges = False

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> stratakv.Stats:
        with self.open(cache, read_only=True) as db:
            return db.stats()
