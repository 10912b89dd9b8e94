"""MAX_ENTRIES and CULL_FREQUENCY: how many entries a namespace holds, and removing the oldest.

Counting walks over all keys, so it is done rarely. After a count, the new keys this process writes are
added to it; the walk is repeated when the sum reaches MAX_ENTRIES, and when the count is old, since other
processes write too. Old means a second, or twenty times what counting took: it never takes more than a
twentieth of the time.
"""

from __future__ import annotations

import threading
import time

import stratakv

_TRUSTED_AT_LEAST = 1.0  # seconds
_TRUSTED_FOR_COST = 20  # times the duration of the count


class Census:
    """The number of entries under `namespace`, as far as this process knows; one for all its threads."""

    def __init__(self, namespace: bytes) -> None:
        self._namespace = namespace
        self._lock = threading.RLock()  # a signal handler may use the cache in the midst of it
        self._entries = 0
        self._stale_at = 0.0  # monotonic seconds

    def admit(self, db: stratakv.DB, most: int, cull_frequency: int) -> None:
        """Make room for one new entry: cull when there are `most` or more, as Django's own backends do."""
        with self._lock:
            if self._entries >= most or time.monotonic() >= self._stale_at:
                self._entries = self._cull(db, most, cull_frequency)
            self._entries += 1

    def release(self, count: int) -> None:
        """Take note that `count` entries were deleted."""
        with self._lock:
            self._entries -= count

    def forget(self) -> None:
        """Count again before the next new entry."""
        with self._lock:
            self._stale_at = 0.0

    def _cull(self, db: stratakv.DB, most: int, cull_frequency: int) -> int:
        """Count; at `most`, remove one in `cull_frequency` (all for 0), oldest first; return the rest."""
        begun = time.monotonic()
        keys = list(db.keys(self._namespace))
        now = time.monotonic()
        self._stale_at = now + max(_TRUSTED_AT_LEAST, _TRUSTED_FOR_COST * (now - begun))
        if len(keys) < most:
            return len(keys)
        if cull_frequency == 0:
            db.delete_prefix(self._namespace)
            return 0
        oldest = keys[: len(keys) // cull_frequency]
        db.delete_many(oldest)
        return len(keys) - len(oldest)
