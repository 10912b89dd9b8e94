"""`manage.py stratakv_compact`: give the space of replaced, deleted and expired values back to the disk."""

from typing import Any

import stratakv
from stratakv_django import conf
from stratakv_django.management.store_command import StoreCommand


class Command(StoreCommand):
    help = "Rewrite a cache's store without what was replaced, deleted or has expired. The site may go on."

    def work(self, cache: conf.CacheSettings, options: dict[str, Any]) -> stratakv.CompactionReport:
        with self.progress("Compacting") as progress:
            return self.open(cache).compact(progress)
