"""The cache backend, as CACHES names it."""

from __future__ import annotations

from stratakv_django.single_flight import SingleFlight


class StrataKVCache(SingleFlight):
    """A cache in a directory, shared by all processes of the machine that name it as their LOCATION.

    Made of `SyncCalls`, the calls of Django's API, `AsyncCalls`, their twins, and `SingleFlight`, which makes
    a value once.
    """
