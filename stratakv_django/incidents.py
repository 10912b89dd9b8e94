"""What went wrong with a store and did not stop the site: counted always, logged at a limited rate."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Literal

LOG_INTERVAL = 60.0  # seconds between two log records of one kind about one store

Kind = Literal["read", "write", "value"]

_logger = logging.getLogger("stratakv_django")
_MEANING: dict[Kind, str] = {
    "read": "a read failed and was answered as a miss",
    "write": "a write was not saved",
    "value": "a value could not be decoded and was answered as a miss",
}


class Incidents:
    """The incidents of one store in this process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts: Counter[Kind] = Counter()
        self._logged_count: Counter[Kind] = Counter()
        self._next_log: dict[Kind, float] = {}

    def record(self, kind: Kind, error: BaseException) -> None:
        """Count `error`; log it with its traceback, unless one of its kind was logged within LOG_INTERVAL."""
        with self._lock:
            self._counts[kind] += 1
            now = time.monotonic()
            if now < self._next_log.get(kind, 0.0):
                return
            self._next_log[kind] = now + LOG_INTERVAL
            unlogged = self._counts[kind] - self._logged_count[kind] - 1
            self._logged_count[kind] = self._counts[kind]
        since = f" ({unlogged:,} more of this kind since the last report)" if unlogged else ""
        _logger.error("%s: %s: %s%s", self._path, _MEANING[kind], error, since, exc_info=error)

    def counts(self) -> dict[Kind, int]:
        """Return how many incidents of each kind this process has seen."""
        with self._lock:
            return {kind: self._counts[kind] for kind in _MEANING}
