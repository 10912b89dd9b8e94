"""What the peers are given to do: the same keys and values, in the same order, cut into rounds."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Generic, Self, TypeVar

from benchmarks.rounds import Round

T = TypeVar("T", str, bytes)
U = TypeVar("U")
KEY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Workload(Generic[T]):
    """Distinct `items` to put, and `absent` keys, as many, that are never put."""

    items: Sequence[tuple[T, T]]
    absent: Sequence[T]
    rounds: int

    def parameters(self) -> dict[str, int]:
        """Return the sizes of it all, lengths in bytes."""
        key, value = self.items[0]
        return {
            "keys": len(self.items),
            "key_bytes": len(key),
            "value_bytes": len(value),
            "rounds": self.rounds,
        }

    def payload_bytes(self) -> int:
        """Return the bytes of all keys and values."""
        return len(self.items) * sum(map(len, self.items[0]))

    def thinned(self, slowness: int) -> Self:
        """Return the same for a peer that is given so many times fewer keys; at least one in each round."""
        keep = max(self.rounds, len(self.items) // slowness)
        return replace(self, items=self.items[:keep], absent=self.absent[:keep])

    def operations(self) -> dict[str, list[Round]]:
        """Return the rounds of each operation, in the order in which the operations must run.

        Reads and deletes take the keys in a random order, each key once.
        """
        shuffled = random.sample(self.items, len(self.items))
        present = self._cut([key for key, _ in shuffled])
        last_values = [chunk[-1][1] for chunk in self._cut(shuffled)]
        return {
            "put": [Round("put", items, None) for items in self._cut(self.items)],
            "get": [Round("get", keys, value) for keys, value in zip(present, last_values, strict=True)],
            "miss": [Round("get", keys, None) for keys in self._cut(self.absent)],
            "delete": [Round("delete", keys, True) for keys in present],
        }

    def _cut(self, whole: Sequence[U]) -> list[Sequence[U]]:
        bounds = [len(whole) * turn // self.rounds for turn in range(self.rounds + 1)]
        return [whole[start:stop] for start, stop in pairwise(bounds)]


def random_key() -> bytes:
    """Return a key of KEY_BYTES hexadecimal digits, as of SHA-256, that is not used yet."""
    return os.urandom(KEY_BYTES // 2).hex().encode()


def random_bytes(keys: int, value_bytes: int, rounds: int) -> Workload[bytes]:
    """Return a workload of random values under keys that are 64 hexadecimal digits, as of SHA-256."""
    items = [(random_key(), os.urandom(value_bytes)) for _ in range(keys)]
    return Workload(items, [random_key() for _ in range(keys)], rounds)


def random_text(keys: int, value_characters: int, rounds: int) -> Workload[str]:
    """Return the same as text: random hexadecimal values."""
    items = [(random_key().decode(), _text(value_characters)) for _ in range(keys)]
    return Workload(items, [random_key().decode() for _ in range(keys)], rounds)


def _text(characters: int) -> str:
    return os.urandom(-(-characters // 2)).hex()[:characters]
