"""Random bits flipped in a large store that nobody has open, which is then opened.

It was left by a close, a kill or a power cut, for a third of the flips each. The store has a budget and has
evicted; for thousands of its keys, live and deleted, older segments still have older versions, and none of
them may show. Half of the flips go where the bytes are, half to each kind of file alike. By default there are
a few hundred; STRATAKV_RANDOM_FLIPS=100000 takes half an hour.

After one flip in fifty `verify` is asked. It or the opening must have noticed the flip, unless its bit says
nothing or stood in what an opening makes anew anyway.
"""

from __future__ import annotations

import gc
import os
import random
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stratakv import DB, CorruptionError, DirectoryError
from tests.engine.before import Before
from tests.engine.conftest import Open
from tests.engine.free_bits import CONTROL_WORDS, is_free
from tests.engine.large_store import ACTIVE_BYTES, LargeStore, Model
from tests.engine.machine import Machine, in_time

FLIPS = int(os.environ.get("STRATAKV_RANDOM_FLIPS", "600"))
# Of so many flips one: `verify` is asked; the store is opened twice; a key is scanned; all are read.
VERIFIED, AGAIN, SCANNED, ALL = 50, 4, 100, 1000
MORE_MEMORY = 2**29  # bytes of address space above what building the store took, maps of dead stores included
NOTICED = ("refused", "logged", "found")


@pytest.fixture
def path(fast: Path, state: str) -> Path:
    return fast / f"large-{state}"


@dataclass(frozen=True)
class Region:
    kind: str
    name: str
    start: int
    end: int


def regions(large: LargeStore, before: Before) -> Iterator[Region]:
    """Yield what there is to be flipped: all bytes but the zeros behind the log that was being written."""
    for name, data in before.files.items():
        end = large.ends.get(name, len(data))
        if name == "CONTROL":
            yield Region(name, name, 0, CONTROL_WORDS)
            yield Region("counters", name, CONTROL_WORDS, end)
        elif end:  # a lock is empty
            yield Region(Path(name).suffix if name[0].isdigit() else name, name, 0, end)


@dataclass(frozen=True)
class Place:
    region: Region
    offset: int
    bit: int

    @property
    def name(self) -> str:
        return self.region.name


def places(every: list[Region], numbers: random.Random, flips: int) -> Iterator[Place]:
    kinds = sorted({each.kind for each in every})
    for number in range(flips):
        kind = numbers.choice(kinds) if number % 2 else None
        chosen = [each for each in every if kind in (each.kind, None)]
        (region,) = numbers.choices(chosen, [each.end - each.start for each in chosen])
        yield Place(region, numbers.randrange(region.start, region.end), numbers.randrange(8))


class Trials:
    """One flip after the other in one large store, and what came of them."""

    def __init__(self, large: LargeStore, state: str, path: Path, open_: Open, heard: list[str]) -> None:
        self.large, self.state, self.path, self.open_, self.heard = large, state, path, open_, heard
        self.numbers = random.Random(state)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.missed: list[Place] = []

    def one_in(self, many: int) -> bool:
        return self.numbers.randrange(many) == 0

    def run(self, before: Before, flips: int) -> None:
        for number, place in enumerate(places(list(regions(self.large, before)), self.numbers, flips)):
            if number % 50 == 0:
                gc.collect()  # what could not be opened leaves its files to it
            before.restore()
            self.heard.clear()
            try:
                with before.flipped(place.name, place.offset, place.bit), in_time(60):
                    outcome = self.outcome(place)
            except Exception as wrong:
                raise AssertionError((place, self.heard[:5])) from wrong
            self.outcomes[place.region.kind, outcome] += 1

    def outcome(self, place: Place) -> str:
        """Open the store, read in it, write to it, close it; perhaps do so again."""
        asked = self.one_in(VERIFIED)
        byte = self.byte(place)
        try:
            db = self.open_(segment_bytes=ACTIVE_BYTES)
        except (CorruptionError, DirectoryError):
            if asked:
                self.verdicts[place.region.kind, "refused"] += 1
            return "refused"
        if asked:
            verdict = self.verdict(db, place, byte)
            self.verdicts[place.region.kind, verdict] += 1
            self.missed += [place] if verdict == "missed" else []
        torn = self.state == "rebooted" and self.heard
        commits = self.large.survived(db) if torn else len(self.large.tail)
        live = self.large.after(commits)
        keys = [*self.large.about(place.name, place.offset), *self.large.sample(self.numbers)]
        outcome = self.read(db, live, keys, recovered=bool(torn))
        db.put(b"after", b"it goes on")
        db.close()
        if self.one_in(AGAIN):
            with self.open_(segment_bytes=ACTIVE_BYTES) as db:
                assert self.read(db, live, keys, recovered=bool(torn)) == outcome
                assert db.get(b"after") == b"it goes on"
        return "older" if outcome == "right" and commits < len(self.large.tail) else outcome

    def byte(self, place: Place) -> bytes:
        """The byte that stands there now, empty where the file does not reach so far."""
        try:
            with (self.path / place.name).open("rb") as file:
                file.seek(place.offset)
                return file.read(1)
        except FileNotFoundError:
            return b""

    def verdict(self, db: DB, place: Place, flipped: bytes) -> str:
        """How the flip was noticed, or why it was not."""
        if self.heard:
            return "logged"
        report = db.verify()
        if not report.ok:
            assert {Path(damage.path).name for damage in report.damage} == {place.name}, report.damage
            return "found"
        if self.byte(place) != flipped:
            return "made anew"
        spare = place.name in ("MANIFEST.old", "GHOSTS")
        free = spare or is_free(place.name, place.offset, self.large.shapes.get(place.name))
        return "free" if free else "missed"

    def read(self, db: DB, live: Model, keys: list[bytes], *, recovered: bool) -> str:
        """Ask for these keys, and perhaps for all; return "right", or "miss" where one was."""
        missed = False
        for key in keys:
            value = db.get(key)
            assert value in (live.get(key), None), (key, value)
            assert db.get_many([key]).get(key) == value
            missed |= value != live.get(key)
            if self.one_in(SCANNED * len(keys)):
                assert dict(db.scan(start=key, stop=key + b"\0")).get(key) == value
        if self.one_in(ALL):
            live = {**live, b"after": b"it goes on"}
            everything = dict(db.scan())
            assert everything.items() <= live.items()
            assert all(db.get(key) == everything.get(key) for key in live)
            assert set(db.keys()) == everything.keys()
        if missed:
            assert self.heard
            assert recovered or db.stats().damaged_reads
        return "miss" if missed else "right"


@pytest.fixture
def bounded() -> Iterator[Callable[[], None]]:
    """Ends in MemoryError whatever takes much more memory than is taken when this is called."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def bound() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY, before[1]))

    yield bound
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("state", ["closed", "killed", "rebooted"])
def test_random_flips_in_a_large_store(
    open_: Open,
    path: Path,
    machine: Machine,
    damage_log: list[str],
    bounded: Callable[[], None],
    state: str,
) -> None:
    large = LargeStore(open_)
    assert min(map(len, (large.overwritten, large.gone, large.strange))) > 200
    before = Before(path, large.sealed)
    large.db.close()
    if state == "closed":
        before = Before(path, large.sealed)
    elif state == "rebooted":
        machine.reboot()
    assert sum(map(len, before.files.values())) > 20 * 2**20
    trials = Trials(large, state, path, open_, damage_log)
    bounded()
    gc.freeze()  # what there is now is here to stay
    trials.run(before, FLIPS // 3)
    gc.unfreeze()
    for (kind, outcome), count in sorted(trials.outcomes.items()):
        print(f"{state}, {kind}, {outcome}: {count:,}")
    for (kind, verdict), count in sorted(trials.verdicts.items()):
        print(f"{state}, verify, {kind}, {verdict}: {count:,}")
    noticed = sum(count for (_, verdict), count in trials.verdicts.items() if verdict in NOTICED)
    assert len(trials.missed) <= noticed / 1000, trials.missed
