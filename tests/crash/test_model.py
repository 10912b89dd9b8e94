"""Two processes, a clock and a disk that forgets, against a dict; the options are drawn, too.

Every operation is done by either of two processes. A crash of the machine leaves any part of what was not
synced, and what is found then must be a state of the store since the last promise.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import stratakv
from stratakv import DB
from stratakv import open_stores as stores
from stratakv.maintenance import plan
from stratakv.maintenance.tasks import Tasks
from tests.crash.work import NOW, fast_place
from tests.engine.machine import abandon
from tests.support.crash_files import CrashFiles, everything, some, write_image

EXAMPLES = int(os.environ.get("STRATAKV_CRASH_EXAMPLES", "200"))

keys = st.sampled_from([b"a", b"aa", b"b", b"c" * 300])
values = st.binary(max_size=30) | st.integers(500, 3000).map(bytes)
ttls = st.none() | st.sampled_from([1, 60])
either = st.integers(0, 1)

State = dict[bytes, tuple[bytes, float | None]]


class CrashModel(RuleBasedStateMachine):
    """states: all since what was promised last, the newest one last."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=fast_place(), prefix="stratakv-crash-"))
        self.numbers = itertools.count(1)
        self.now = NOW
        self.states: list[State] = [{}]
        self.dbs: list[DB] = []
        self.patched = ExitStack()

    @initialize(
        durability=st.sampled_from(["always", "os"]),
        budget=st.sampled_from([0, 2**18]),
        segment_bytes=st.sampled_from([4096, 16_384]),
    )
    def begin(self, durability: str, budget: int, segment_bytes: int) -> None:
        self.options = {
            "durability": durability,
            "max_bytes": budget,
            "segment_bytes": segment_bytes,
            "maintenance": "manual",
        }
        path = self.place / "0"
        path.mkdir(mode=0o700)
        self.files = CrashFiles(path)
        self.patched.enter_context(mock.patch.object(stores, "Files", side_effect=lambda: self.files))
        self.patched.enter_context(mock.patch("time.time", side_effect=lambda: self.now))
        # A store with a budget has a sieve however small it is.
        self.patched.enter_context(mock.patch.multiple(plan, _MANY=2, _MANY_KEYS=1, _UNSIEVED=1))
        self.dbs = [self.open(), self.open()]

    def teardown(self) -> None:
        for db in self.dbs:
            self.kill(db)
        self.patched.close()
        shutil.rmtree(self.place)

    # -- processes ---------------------------------------------------------------------------------------

    def open(self) -> DB:
        """Open the store as another process would, which shares nothing with this one."""
        db = stratakv.open(self.files.root, **self.options)  # type: ignore[arg-type]
        store = db._store
        del stores._stores[store.identity]
        store.identity = (0, next(self.numbers), False)
        stores._stores[store.identity] = store
        return db

    def kill(self, db: DB) -> None:
        abandon(db._store)
        db._closed = True

    @rule(who=either)
    def reopen(self, who: int) -> None:
        self.dbs[who].close()
        self.dbs[who] = self.open()

    @rule(who=either)
    def die(self, who: int) -> None:
        self.kill(self.dbs[who])
        self.dbs[who] = self.open()

    @rule(seed=st.none() | st.integers(0, 2**32))
    def crash(self, seed: int | None) -> None:
        """The machine stops: on disk is what the processes saw, or any part of what was not synced."""
        self.files.finish()
        *_, disk = self.files.moments()
        for db in self.dbs:
            self.kill(db)
        path = self.place / str(next(self.numbers))
        write_image(disk.after(everything if seed is None else some(seed)), path)
        shutil.rmtree(self.files.root)
        self.files = CrashFiles(path, boot=self.files.boot + 1)
        self.dbs = [self.open(), self.open()]
        found = self.found(0)
        for state in reversed(self.states):
            if found == self.live(state) or (self.forgets and found.items() <= self.live(state).items()):
                self.states = [{key: item for key, item in state.items() if key in found}]
                return
        raise AssertionError(f"{found} was never the state of the store since it was last promised")

    # -- operations --------------------------------------------------------------------------------------

    @property
    def forgets(self) -> bool:
        return bool(self.options["max_bytes"])

    def wrote(self, changes: dict[bytes, tuple[bytes, float | None] | None]) -> None:
        state = self.states[-1] | changes
        self.states.append({key: item for key, item in state.items() if item is not None})
        if self.options["durability"] == "always":
            self.promised()

    def promised(self) -> None:
        self.states = self.states[-1:]

    def end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.now + ttl

    @rule(seconds=st.sampled_from([1, 60]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(who=either, key=keys, value=values, ttl=ttls)
    def put(self, who: int, key: bytes, value: bytes, ttl: float | None) -> None:
        self.dbs[who].put(key, value, ttl)
        self.wrote({key: (value, self.end(ttl))})

    @rule(who=either, batch=st.dictionaries(keys, values, min_size=1), ttl=ttls)
    def put_many(self, who: int, batch: dict[bytes, bytes], ttl: float | None) -> None:
        self.dbs[who].put_many(batch, ttl)
        self.wrote({key: (value, self.end(ttl)) for key, value in batch.items()})

    @rule(who=either, key=keys)
    def delete(self, who: int, key: bytes) -> None:
        self.dbs[who].delete(key)
        self.wrote({key: None})

    @rule(who=either, prefix=st.sampled_from([b"a", b"b", b"x"]))
    def delete_prefix(self, who: int, prefix: bytes) -> None:
        self.dbs[who].delete_prefix(prefix)
        self.wrote({key: None for key in self.states[-1] if key.startswith(prefix)})

    @rule(who=either)
    def clear(self, who: int) -> None:
        self.dbs[who].clear()
        self.wrote(dict.fromkeys(self.states[-1]))
        self.promised()

    @rule(who=either)
    def sync(self, who: int) -> None:
        self.dbs[who].sync()
        self.promised()

    @rule(who=either)
    def rotate(self, who: int) -> None:
        store = self.dbs[who]._store
        with store.committer.hold() as held:
            store.structure.rotate(held)

    @rule(who=either)
    def compact(self, who: int) -> None:
        self.dbs[who].compact()

    @rule(who=either)
    def maintain(self, who: int) -> None:
        self.dbs[who].maintain()

    @rule(who=either, place=st.integers(0, 3))
    def sweep(self, who: int, place: int) -> None:
        store = self.dbs[who]._store
        view = store.structure.current()
        if place < len(view.sealed):
            with store.maintenance.elected():
                tasks = Tasks(store.structure, store.committer, store.syncer.reach_tip, lambda _: None)
                tasks.sweep(view, [view.sealed[place]])

    # -- what always holds -------------------------------------------------------------------------------

    def live(self, state: State) -> dict[bytes, bytes]:
        return {key: value for key, (value, end) in state.items() if end is None or end > self.now}

    def found(self, who: int) -> dict[bytes, bytes]:
        return dict(self.dbs[who].scan())

    @invariant()
    def same(self) -> None:
        live = self.live(self.states[-1])
        for who, db in enumerate(self.dbs):
            found = self.found(who)
            assert found.items() <= live.items() if self.forgets else found == live
            assert {key: db.get(key) for key in live} == {key: found.get(key) for key in live}
            assert db.get_many(live) == found
            # What an eviction took must not come back.
            self.states[-1] = {
                key: item for key, item in self.states[-1].items() if key in found or key not in live
            }

    @invariant()
    def sound(self) -> None:
        for db in self.dbs[:1]:
            assert db.verify().damage == ()


TestModel: Any = CrashModel.TestCase
TestModel.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
