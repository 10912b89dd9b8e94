"""What went wrong with a store and did not stop the site: counted always, logged at a limited rate."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Literal

import stratakv
from stratakv_django import naming

LOG_INTERVAL = 60.0  # seconds between two log records of one kind about one store

Kind = Literal["read", "write", "value"]

_logger = logging.getLogger("stratakv_django")
_MEANING: dict[Kind, str] = {
    "read": "a read failed and was answered as a miss",
    "write": "a write was not saved",
    "value": "a value could not be decoded and was answered as a miss",
}
# Characters of a key: enough to tell it, and too few for that of a session, which is as good as a password.
_SHOWN_OF_KEY = 50


class Incidents:
    """The incidents of one store in this process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()  # a signal handler may use the cache in the midst of it
        self._counts: Counter[Kind] = Counter()
        self._logged_count: Counter[Kind] = Counter()
        self._next_log: dict[Kind, float] = {}
        self._said_too_large = False

    def record(self, kind: Kind, error: BaseException, names: Collection[bytes] = ()) -> None:
        """Count `error`; log it with its traceback, unless one of its kind was logged within LOG_INTERVAL.

        That a value is too large is no fault of the storage: it is a warning, and said once. That the store
        was removed is said by whoever opens it anew.
        names: the engine keys of the entries that it was about, of which the first is shown.
        """
        if isinstance(error, stratakv.InvalidValueError):
            self._record_too_large(error, names)
            return
        if isinstance(error, stratakv.RemovedError):
            self._count_as_logged(kind)
            return
        with self._lock:
            self._counts[kind] += 1
            now = time.monotonic()
            if now < self._next_log.get(kind, 0.0):
                return
            self._next_log[kind] = now + LOG_INTERVAL
            unlogged = self._counts[kind] - self._logged_count[kind] - 1
            self._logged_count[kind] = self._counts[kind]
        since = f" ({unlogged:,} more of this kind since the last report)" if unlogged else ""
        meaning = _MEANING[kind] + _shown(names)
        _logger.error("%s: %s: %s%s", self._path, meaning, error, since, exc_info=error)

    def _record_too_large(self, error: stratakv.InvalidValueError, names: Collection[bytes]) -> None:
        with self._lock:
            self._count_as_logged("write")
            said, self._said_too_large = self._said_too_large, True
        if not said:
            _logger.warning(
                "%s: %s: %s. More of them are counted but not logged.",
                self._path,
                _MEANING["write"] + _shown(names),
                error,
            )

    def _count_as_logged(self, kind: Kind) -> None:
        """Count one that the next error of its kind is not to sum up."""
        with self._lock:
            self._counts[kind] += 1
            self._logged_count[kind] += 1

    def counts(self) -> dict[Kind, int]:
        """Return how many incidents of each kind this process has seen."""
        with self._lock:
            return {kind: self._counts[kind] for kind in _MEANING}


def _shown(names: Collection[bytes]) -> str:
    """Return which entry an incident is about, as Django has made its key, and how many others are."""
    if not names:
        return ""
    key = naming.made_key(next(iter(names)))
    cut = "..." if len(key) > _SHOWN_OF_KEY else ""
    others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f" (key {key[:_SHOWN_OF_KEY]!r}{cut}{others})"
