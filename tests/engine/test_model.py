"""The store against a dict; rotation, compaction, reopening, death and reboot are ordinary operations."""

from __future__ import annotations

import functools
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import stratakv
from stratakv import open_stores as stores
from stratakv.control import W_SYNCED, bytes_below
from stratakv.maintenance import plan
from tests.engine.machine import Death, Machine, MachineFiles

keys = st.sampled_from([b"a", b"aa", b"b", b"bb/1", b"bb/2", b"\0", b"\xff" * 3, b"k" * 300])
values = st.binary(max_size=40) | st.integers(0, 4000).map(bytes)
ttls = st.none() | st.sampled_from([0, 1, 5, 60])
START = 1_800_000_000.0

Model = dict[bytes, tuple[bytes, float | None]]


class Simulated(RuleBasedStateMachine):
    """A store on a machine and a clock that obey. model: value and end of each key, None for never."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.directory = Path(tempfile.mkdtemp())
        self.now = START
        self.patches = [
            mock.patch.object(stores, "Files", functools.partial(MachineFiles, self.machine)),
            mock.patch("stratakv.reader.time.time", self.clock),
            # A store with a budget has a sieve however small it is.
            mock.patch.multiple(plan, _MANY=2, _MANY_KEYS=1, _UNSIEVED=1),
        ]
        for patch in self.patches:
            patch.start()
        self.db: stratakv.DB
        self.model: Model = {}

    def clock(self) -> float:
        return self.now

    def teardown(self) -> None:
        self.machine.bury(self.db)
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.directory)

    @rule(seconds=st.sampled_from([1, 4, 60]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: hasattr(self, "db"))
    @rule()
    def verify(self) -> None:
        assert self.db.verify().damage == ()


class StoreModel(Simulated):
    """A store that keeps everything. durable: every state since the last sync."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[Model] = [{}]

    @initialize()
    def open(self) -> None:
        self.db = stratakv.open(self.directory / "store", durability="os", segment_bytes=4096)

    def live(self) -> dict[bytes, bytes]:
        return {key: value for key, (value, end) in self.model.items() if end is None or end > self.now}

    def end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.now + ttl

    def written(self) -> None:
        self.durable.append(dict(self.model))

    # -- operations --------------------------------------------------------------------------------------

    @rule(key=keys, value=values, ttl=ttls)
    def put(self, key: bytes, value: bytes, ttl: float | None) -> None:
        self.db.put(key, value, ttl)
        self.model[key] = value, self.end(ttl)
        self.written()

    @rule(batch=st.dictionaries(keys, values, max_size=6), ttl=ttls)
    def put_many(self, batch: dict[bytes, bytes], ttl: float | None) -> None:
        self.db.put_many(batch, ttl)
        self.model |= {key: (value, self.end(ttl)) for key, value in batch.items()}
        self.written()

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        assert self.db.delete(key) == (key in self.live())
        self.model.pop(key, None)
        self.written()

    @rule(wanted=st.sets(keys))
    def delete_many(self, wanted: set[bytes]) -> None:
        assert self.db.delete_many(wanted) == len(wanted & self.live().keys())
        for key in wanted:
            self.model.pop(key, None)
        self.written()

    @rule(prefix=st.sampled_from([b"a", b"bb/", b"", b"x"]))
    def delete_prefix(self, prefix: bytes) -> None:
        self.db.delete_prefix(prefix)
        self.model = {key: item for key, item in self.model.items() if not key.startswith(prefix)}
        self.written()

    @rule(key=keys, value=values, ttl=ttls)
    def add(self, key: bytes, value: bytes, ttl: float | None) -> None:
        missing = key not in self.live()
        assert self.db.add(key, value, ttl) == missing
        if missing:
            self.model[key] = value, self.end(ttl)
        self.written()

    @rule(key=keys, ttl=ttls)
    def touch(self, key: bytes, ttl: float | None) -> None:
        there = key in self.live()
        assert self.db.touch(key, ttl) == there
        if there:
            self.model[key] = self.model[key][0], self.end(ttl)
        self.written()

    @rule(delta=st.integers(-5, 5))
    def incr(self, delta: int) -> None:
        old = int(self.live().get(b"n", b"0"))
        end = self.model[b"n"][1] if b"n" in self.live() else None
        assert self.db.incr(b"n", delta) == old + delta
        self.model[b"n"] = b"%d" % (old + delta), end
        self.written()

    @rule(key=keys, value=values)
    def update(self, key: bytes, value: bytes) -> None:
        old, after = self.live().get(key), None
        if old is not None:
            after = old[:20] + value
            self.model[key] = after, self.model[key][1]
        assert self.db.update(key, lambda found: found[:20] + value) == after
        self.written()

    @rule(changes=st.dictionaries(keys, st.none() | values, max_size=4), fail=st.booleans())
    def transaction(self, changes: dict[bytes, bytes | None], fail: bool) -> None:
        after = dict(self.model)
        try:
            with self.db.transaction() as tx:
                for key, value in changes.items():
                    if value is None:
                        tx.delete(key)
                        after.pop(key, None)
                    else:
                        tx.put(key, value)
                        after[key] = value, None
                    assert tx.get(key) == value
                if fail:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return
        self.model = after
        self.written()

    @rule()
    def clear(self) -> None:
        self.db.clear()
        self.model = {}
        self.durable = [{}]  # the manifest is durable, whatever the level

    @rule()
    def compact(self) -> None:
        self.db.compact()
        self.durable = [dict(self.model)]  # what was merged is on disk

    @rule()
    def maintain(self) -> None:
        self.db.maintain()

    @rule()
    def sync(self) -> None:
        self.db.sync()
        self.durable = [dict(self.model)]

    @rule()
    def fill(self) -> None:
        """Enough to seal the segment."""
        self.put(b"filler", b"x" * 3900, None)

    # -- the end of the process --------------------------------------------------------------------------

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.open()

    @rule()
    def die(self) -> None:
        self.machine.bury(self.db)
        self.open()

    @rule(
        steps=st.integers(0, 12),
        batch=st.dictionaries(keys, values, min_size=1, max_size=3),
        large=st.booleans(),
    )
    def die_in_a_write(self, steps: int, batch: dict[bytes, bytes], large: bool) -> None:
        """What was not acknowledged is there as a whole or not at all."""
        batch |= {b"large": bytes(4000)} if large else {}
        before = self.live()
        self.machine.die_after(steps)
        try:
            self.db.put_many(batch)
            allowed = [before | batch]
        except Death:
            allowed = [before, before | batch]
        self.machine.bury(self.db)
        self.open()
        assert self.found() in allowed
        self.put_many(batch, None)

    @rule(steps=st.integers(0, 45))
    def die_in_a_compaction(self, steps: int) -> None:
        self.machine.die_after(steps)
        with suppress(Death):
            self.db.compact()
        self.machine.bury(self.db)
        self.open()

    @rule(steps=st.integers(0, 60))
    def die_in_maintenance(self, steps: int) -> None:
        self.machine.die_after(steps)
        with suppress(Death):
            self.db.maintain()
        self.machine.bury(self.db)
        self.open()

    @rule()
    def reboot(self) -> None:
        self.machine.bury(self.db)
        self.machine.reboot()
        self.open()

    @rule(torn=st.integers(1, 3000), garbage=st.binary(max_size=40))
    def power_cut(self, torn: int, garbage: bytes) -> None:
        """The active log loses its end; the store goes back to a moment since the last sync."""
        number, reached = self.active()
        begun = self.db._store.structure.current().active.begun()  # was synced before the manifest named it
        self.machine.bury(self.db)
        self.machine.reboot()
        synced = bytes_below(self.synced, number, reached)
        offset = max(begun, synced, reached - torn)
        with (self.directory / "store" / f"{number:06d}.log").open("r+b") as log:
            log.truncate(offset)
            log.seek(offset)
            log.write(garbage)
        self.open()
        found = self.found()
        ends = {key: self.end_of(key) for key in found}
        for state in reversed(self.durable):
            self.model = state
            if self.live() == found and {key: state[key][1] for key in found} == ends:
                break
        else:
            raise AssertionError(f"{found} was never the state of the store")
        self.durable = [dict(self.model)]

    def active(self) -> tuple[int, int]:
        active = self.db.stats().segments[0]
        self.synced = self.db._store.control.words[W_SYNCED]
        return active.number, active.log_bytes

    # -- what always holds -------------------------------------------------------------------------------

    def found(self) -> dict[bytes, bytes]:
        return dict(self.db.scan())

    def end_of(self, key: bytes) -> float | None:
        left = self.db.ttl(key)
        return None if left is None else round(self.now + left)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "db"):
            return
        live = self.live()
        assert self.found() == live
        assert self.db.get_many([*live, b"absent"]) == live
        assert sorted(self.db.keys()) == sorted(live)
        for key in self.model:
            assert self.db.get(key) == live.get(key)
            assert (key in self.db) == (key in live)
        for key in live:
            assert self.end_of(key) == self.model[key][1]


class EvictingModel(Simulated):
    """A store with a budget: it may forget anything at any time, and never remember what was replaced."""

    BUDGET = 2**18

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.recoveries = 0  # since it was maintained

    @initialize()
    def open(self) -> None:
        self.db = stratakv.open(
            self.directory / "store", durability="os", maintenance="manual", max_bytes=self.BUDGET
        )

    def value(self, size: int) -> bytes:
        self.version += 1
        return b"%d:" % self.version + bytes(size)

    @rule(key=keys, size=st.integers(0, 9000), ttl=ttls)
    def put(self, key: bytes, size: int, ttl: float | None) -> None:
        self.model[key] = self.value(size), None if ttl is None else self.now + ttl
        self.db.put(key, self.model[key][0], ttl)

    @rule(size=st.integers(500, 9000), count=st.integers(1, 40))
    def fill(self, size: int, count: int) -> None:
        for number in range(count):
            self.put(b"filler-%d" % number, size, None)

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        self.db.delete(key)
        self.model.pop(key, None)

    @rule(prefix=st.sampled_from([b"a", b"bb/", b"", b"filler-1"]))
    def delete_prefix(self, prefix: bytes) -> None:
        self.db.delete_prefix(prefix)
        self.model = {key: item for key, item in self.model.items() if not key.startswith(prefix)}

    @rule(key=keys, size=st.integers(0, 3000))
    def add(self, key: bytes, size: int) -> None:
        value = self.value(size)
        if self.db.add(key, value):
            self.model[key] = value, None

    @rule(wanted=st.sets(keys))
    def read(self, wanted: set[bytes]) -> None:
        for key in wanted:
            self.db.get(key)

    @rule()
    def maintain(self) -> None:
        self.db.maintain()
        self.recoveries = 0

    @rule()
    def compact(self) -> None:
        self.db.compact()

    @rule(back=st.booleans())
    def reopen(self, back: bool) -> None:
        self.db.close()
        if back:
            self.machine.reboot()
        self.open()

    @rule(steps=st.integers(0, 80))
    def die_in_maintenance(self, steps: int) -> None:
        self.machine.die_after(steps)
        with suppress(Death):
            self.db.maintain()
        self.machine.bury(self.db)
        self.open()

    @rule()
    def lose_the_manifest(self) -> None:
        self.db.close()
        (self.directory / "store" / "MANIFEST").unlink()
        stratakv.recover(self.directory / "store")
        self.open()
        self.recoveries += 1

    @invariant()
    def nothing_comes_back(self) -> None:
        if not hasattr(self, "db"):
            return
        live = {key: value for key, (value, end) in self.model.items() if end is None or end > self.now}
        found = dict(self.db.scan())
        assert found.items() <= live.items()
        assert self.db.get_many([*self.model, b"absent"]) == found
        assert sorted(self.db.keys()) == sorted(found)
        for key in {*self.model, b"a", b"aa", b"b"}:
            assert self.db.get(key) == found.get(key)
        for key in self.model.keys() - found.keys():
            del self.model[key]  # what has gone must not return

    @invariant()
    def the_budget_holds(self) -> None:
        files = (self.directory / "store").glob("*")
        used = sum(file.stat().st_blocks * 512 for file in files if file.is_file())  # not lost+found
        # A segment of 8 KiB and its index of as much are 6 % of the least budget there is. Each recovery
        # begins one, and until the next is begun for want of room, nobody drops any. (One value makes it 12.)
        begun = max(0, self.recoveries - 2) * 20 * 1024
        assert used <= 1.25 * self.BUDGET + begun


TestEviction: Any = EvictingModel.TestCase
TestStore: Any = StoreModel.TestCase
for case in (TestEviction, TestStore):
    case.settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
