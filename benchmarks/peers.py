"""The stores that are compared: what takes part, and what each can be asked to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

NO_LIMIT = 2**40  # bytes: a peer that evicts would have less to do than the others


class Peer(Protocol):
    """One of the stores. It runs the loops itself, so that none pays for a wrapper around its calls."""

    def put(self, items: Sequence[tuple[Any, Any]]) -> None:
        """Store each of `items`, visible to other processes before the next is begun."""

    def get(self, keys: Sequence[Any]) -> object:
        """Read each of `keys` as it is at that moment; return the last one's value, None if it is missing."""

    def delete(self, keys: Sequence[Any]) -> object:
        """Delete each of `keys`; return whether the last one was there."""

    @property
    def close(self) -> Callable[[], object]:
        """Let go of the store's files."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A store that may take part, set up as its users would for speed; `settings` says how.

    open: is given a new directory and the bytes of all keys and values together. missing: returns what keeps
    it from taking part, "" where nothing does. slowness: it gets so many times fewer keys than the others.
    """

    name: str
    settings: str
    open: Callable[[Path, int], Peer]
    missing: Callable[[], str]
    slowness: int = 1


def entrants(candidates: Sequence[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
    """Return those who take part, and the names of the others, with why they do not."""
    absent = {each.name: f"left out, {reason}" for each in candidates if (reason := each.missing())}
    return [each for each in candidates if each.name not in absent], absent


def package(name: str) -> Callable[[], str]:
    """Return what a candidate needs that comes with a package."""
    return lambda: "" if find_spec(name) else f"the package {name} is not installed"


def described(settings: dict[str, Any]) -> str:
    """Return `settings` as they would be written in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


@dataclass(frozen=True, slots=True)
class Calls:
    """A peer that has one method for each operation, as it is told."""

    put_one: Callable[[Any, Any], object]
    get_one: Callable[[Any], object]
    delete_one: Callable[[Any], object]
    close: Callable[[], object]

    def put(self, items: Sequence[tuple[Any, Any]]) -> None:
        put = self.put_one
        for key, value in items:
            put(key, value)

    def get(self, keys: Sequence[Any]) -> object:
        get = self.get_one
        value = None
        for key in keys:
            value = get(key)
        return value

    def delete(self, keys: Sequence[Any]) -> object:
        delete = self.delete_one
        there: object = False
        for key in keys:
            there = delete(key)
        return there


class BlindCalls(Calls):
    """One whose deletes do not tell whether the key was there: it looks up whether the last one has gone."""

    __slots__ = ()

    def delete(self, keys: Sequence[Any]) -> object:
        super().delete(keys)
        return self.get_one(keys[-1]) is None
