"""A store of which a test knows what lies where."""

from __future__ import annotations

from pathlib import Path

from stratakv import DB
from tests.engine.machine import flip


class Layout:
    """A store with a compacted, two sealed young segments and an active one, and what lies where."""

    def __init__(self, db: DB) -> None:
        self.db = db
        self.path = db.path
        self.model = {b"main %d" % number: b"v" * 50 for number in range(30)}
        for key, value in self.model.items():
            db.put(key, value)
        db.compact()
        self.numbers = {"main": db.stats().segments[1].number}
        self.places: dict[bytes, tuple[str, int]] = {}
        for name in ("first", "second", "active"):
            for number in range(30):
                self.put(name, b"%s %d" % (name.encode(), number), b"v" * 50)
            self.numbers[name] = db.stats().segments[0].number
            if name != "active":
                self.seal()
        db.sync()

    def put(self, name: str, key: bytes, value: bytes) -> None:
        before = self.db.stats().segments[0]
        self.db.put(key, value)
        after = self.db.stats().segments[0]
        assert before.number == after.number
        self.places[key] = name, before.log_bytes
        self.model[key] = value

    def seal(self) -> None:
        with self.db._store.committer.hold() as lock:
            self.db._store.structure.rotate(lock)

    def log(self, name: str) -> Path:
        return self.path / f"{self.numbers[name]:06d}.log"

    def damage(self, key: bytes) -> None:
        name, offset = self.places[key]
        flip(self.log(name), offset + 12)

    def only(self, *prefixes: bytes) -> dict[bytes, bytes]:
        return {key: value for key, value in self.model.items() if key.startswith(prefixes)}
