"""Work on a store whose disk is recorded, and the judgement of what a crash left of it."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from xxhash import xxh3_128

import stratakv
from stratakv import DB, budget
from stratakv import open_stores as stores
from stratakv.errors import reported
from stratakv.files import Files
from stratakv.maintenance import plan, split
from stratakv.maintenance.early_end import SupersededError
from stratakv.maintenance.task import Limits, Task
from stratakv.maintenance.tasks import Tasks
from tests.engine.machine import abandon
from tests.support.crash_files import CrashFiles, Image, write_image

Content = dict[bytes, bytes]
KEYS = (b"a", b"b", b"c")
NOW = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How a store is opened. budget: in bytes, None for none. file_system: its type, such as ext4."""

    durability: str
    budget: int | None = None
    file_system: str = "ext4"

    def open(self, path: Path) -> DB:
        return stratakv.open(
            path,
            durability=self.durability,
            max_bytes=self.budget,
            segment_bytes=4096,
            maintenance="manual",
        )


@contextmanager
def machine(files: Files) -> Iterator[None]:
    """Let stores be opened on these files, while the clock stands still."""

    # Plain functions: this is done 100,000 times, and to make a `Mock` each time would take a third of all.
    def these() -> Files:
        return files

    def now() -> float:
        return NOW

    with mock.patch.object(stores, "Files", these), mock.patch.object(time, "time", now):
        yield


class Run:
    """A store at work. states: its content after each operation, and before the first.

    began, ended: for each state, where the trace was when the operation that led to it began, and when it
    was acknowledged. promised: the states that must not be lost once they were acknowledged.
    """

    def __init__(self, root: Path, setting: Setting, files: CrashFiles | None = None) -> None:
        self.root = root
        self.setting = setting
        self.files = files or CrashFiles(root)
        self.files.type = setting.file_system
        self.version = 0
        with machine(self.files):
            self.db = setting.open(root)
        self.states: list[Content] = [dict(self.db.scan())]
        self.began, self.ended, self.promised = [0], [0], [True]

    def do(self, operation: str) -> None:
        """Do one operation; raises whatever it raises."""
        self.began.append(len(self.files.trace))
        # What it would lead to is known before it is tried, but for what an eviction takes.
        self.states.append(self.expected(operation))
        self.ended.append(2**62)
        self.promised.append(self.setting.durability == "always" or operation in ("sync", "clear"))
        with machine(self.files):
            getattr(self, f"_{operation}")()
            if operation == "evict":
                self.states[-1] = dict(self.db.scan())
        self.ended[-1] = len(self.files.trace)

    def expected(self, operation: str) -> Content:
        """Return what the store holds after the operation."""
        before = self.states[-1]
        match operation:
            case "put":
                return before | {b"a": self.value()}
            case "delete":
                return {key: value for key, value in before.items() if key != b"a"}
            case "batch":
                return {b"a": self.value(), b"b": self.value()}
            case "prefix":
                return {key: value for key, value in before.items() if not key.startswith(b"b")}
            case "clear":
                return {}
        return before

    def value(self) -> bytes:
        return b"%d" % (self.version + 1) * 30

    # -- operations --------------------------------------------------------------------------------------

    def _put(self) -> None:
        self.db.put(b"a", self.value())
        self.version += 1

    def _delete(self) -> None:
        self.db.delete(b"a")

    def _batch(self) -> None:
        with self.db.transaction() as tx:
            tx.put(b"a", self.value())
            tx.put(b"b", self.value())
            tx.delete(b"c")
        self.version += 1

    def _prefix(self) -> None:
        self.db.delete_prefix(b"b")

    def _clear(self) -> None:
        self.db.clear()

    def _sync(self) -> None:
        self.db.sync()

    def _rotate(self) -> None:
        store = self.db._store
        with store.committer.hold() as held:
            store.structure.rotate(held)

    def _merge(self) -> None:
        self.db.compact()

    def _maintain(self) -> None:
        self.db.maintain()

    def _evict(self) -> None:
        """Retire the oldest segment, as if the store were over its budget."""
        store = self.db._store
        view = store.structure.current()
        limits = Limits(self.setting.budget or 1, 2**40, 2**40, view.active.end, 4096, 0)
        task = plan.pick(view.manifest.segments, (), (), limits)
        if task and task.kind in ("retire", "evict"):
            with self._tasks() as tasks:
                tasks.do(task)

    def _split(self) -> None:
        """Put a segment for each key in the place of the newest sealed one, as if it were too large."""
        view = self.db._store.structure.current()
        if view.sealed and len(split.ranks_for(view, view.sealed[0], 2**12)) == 2**12:  # else it is left
            small_parts = mock.patch.object(budget, "SEGMENTS", 2**12)
            with self._tasks() as tasks, small_parts, suppress(SupersededError):
                tasks.do(Task("split", (view.sealed[0].number,)))

    def _sweep(self) -> None:
        """Write the oldest segment again, without what newer ones hide, as if that were most of it."""
        view = self.db._store.structure.current()
        if view.sealed:
            with self._tasks() as tasks:
                tasks.sweep(view, [view.sealed[-1]])

    @contextmanager
    def _tasks(self) -> Iterator[Tasks]:
        store = self.db._store
        with reported(self.root), store.maintenance.elected():
            yield Tasks(store.structure, store.committer, store.syncer.reach_tip, lambda _: None)

    def _close(self) -> None:
        self.db.close()
        self.db = self.setting.open(self.root)

    def end(self) -> None:
        """Let the process die."""
        with machine(self.files):
            self.files.finish()
        abandon(self.db._store)
        self.db._closed = True


@dataclass(slots=True)
class Judge:
    """Opens what a crash left, and says what it found. Equal images are looked at once.

    place: where to put them. points: how many crashes were looked at. images: how many different ones.
    """

    place: Path
    found: dict[bytes, Content] = field(default_factory=dict)
    points: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def images(self) -> int:
        return len(self.found)

    def content(self, image: Image, setting: Setting, *, boot: int) -> Content:
        """Return what a store holds that is opened on `image`; AssertionError where it is not sound.

        boot: another one than that of the recording, which is 1, where the machine has crashed.
        """
        self.points += 1
        digest = xxh3_128(repr((setting, boot)).encode())
        for name in sorted(image):
            digest.update(name.encode())
            digest.update(image[name] or b"")
        known = self.found.get(digest.digest())
        if known is None:
            known = self.found[digest.digest()] = self._look(image, setting, boot)
        return known

    def _look(self, image: Image, setting: Setting, boot: int) -> Content:
        path = self.place / str(next(self._numbers))
        write_image(image, path)
        try:
            with machine(_Quick(boot)):
                return look(path, setting)
        finally:
            shutil.rmtree(path)


class _Quick(Files):
    """Files of another boot. Nothing is synced: what is looked at once need not survive."""

    def __init__(self, boot: int) -> None:
        self._boot = boot

    def boot_id(self) -> int:
        return self._boot

    @staticmethod
    def fdatasync(fd: int) -> None:  # type: ignore[override]
        pass

    def sync_directory(self, path: Path) -> None:
        pass

    def memory(self) -> int:
        return 2**30


def look(path: Path, setting: Setting) -> Content:
    """Open a store, see that it is sound and can be used, and return its content."""
    with setting.open(path) as db:
        content = dict(db.scan())
        assert {key: db.get(key) for key in KEYS} == {key: content.get(key) for key in KEYS}
        report = db.verify()
        assert report.ok, report.damage
        db.put(b"c", b"used")
        assert db.get(b"c") == b"used"
    return content


def allowed(run: Run, position: int, *, killed: bool = False) -> list[Content]:
    """Return the states that a crash before step `position` of the trace may leave.

    killed: only the processes ended, which loses nothing that was acknowledged.
    """
    acknowledged = (number for number, end in enumerate(run.ended) if end <= position)
    lowest = max(number for number in acknowledged if killed or run.promised[number])
    return [state for state, began in zip(run.states, run.began, strict=True) if began <= position][lowest:]


def fast_place() -> str | None:
    """A file system in memory, where there is one: crash images are many and short-lived."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def dice(*parts: object) -> random.Random:
    return random.Random(repr(parts))
