"""A cache that takes nothing, as one on a full disk: it can't even give out a lock."""

from typing import Any, ClassVar

from django.core.cache.backends.dummy import DummyCache


class DeafCache(DummyCache):
    refused: ClassVar[list[str]] = []

    def add(self, key: Any, *args: Any, **kwargs: Any) -> bool:
        self.refused.append(key)
        return False
