"""A machine for tests: its kernel can refuse, its processes can die, and it can reboot.

It stands behind the engine's only door to the operating system. Files are real; syncs are only counted,
since the pages of a real kernel survive whatever is simulated here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stratakv import DB
from stratakv import open_stores as stores
from stratakv.files import Files

# What changes something on disk, and what makes it durable: the moments at which dying makes a difference.
STEPS = (
    "pwrite",
    "fdatasync",
    "clear",
    "truncate",
    "allocate",
    "rename",
    "link",
    "unlink",
    "sync_directory",
    "make_directory",
    "make_folder",
    "remove_folder",
    "copy",
)


class Death(BaseException):
    """The process ends here; nothing of it runs on."""


class Machine:
    """What the engine sees of the operating system.

    steps: the name of each step and the path it was about, in order.
    refuse: called before each step; what it raises is what the kernel answers.
    """

    def __init__(self) -> None:
        self.boot = 1
        self.user: int | None = None
        self.type = "ext4"
        self.may_write = True
        self.steps: list[tuple[str, Path]] = []
        self.refuse: Callable[[str, Path], None] = lambda name, path: None
        self.die_at: int | None = None
        self.dead = False

    def before(self, name: str, subject: int | Path) -> None:
        if self.dead or len(self.steps) == self.die_at:
            self.dead = True
            raise Death
        path = path_of(subject) if isinstance(subject, int) else subject
        self.steps.append((name, path))
        self.refuse(name, path)

    def names(self) -> list[str]:
        return [name for name, _ in self.steps]

    def die_after(self, steps: int) -> None:
        self.die_at = len(self.steps) + steps

    def bury(self, *dbs: DB) -> None:
        """What the kernel does when a process has died: its descriptors and so its locks are gone."""
        self.dead, self.die_at = False, None
        for db in dbs:
            db._closed = True
            abandon(db._store)

    def reboot(self) -> None:
        self.boot += 1


def abandon(store: stores.Store) -> None:
    stores._stores.pop(store.identity, None)
    store.syncer._ending.set()
    store._attach_lock.close()
    store.committer.close()
    store.syncer.lock.close()


class MachineFiles(Files):
    """The engine's door, with a `Machine` behind it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        for name in STEPS:
            setattr(self, name, self._step(name, getattr(Files, name)))

    def _step(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        static = name in ("pwrite", "fdatasync")

        def step(*arguments: Any, **named: Any) -> Any:
            self._machine.before(name, arguments[0])
            if name in ("fdatasync", "sync_directory"):
                return None
            return call(*arguments, **named) if static else call(self, *arguments, **named)

        return step

    def boot_id(self) -> int:
        return self._machine.boot

    def user(self) -> int:
        return super().user() if self._machine.user is None else self._machine.user

    def can_write(self, path: Path) -> bool:
        return self._machine.may_write and super().can_write(path)

    def file_system(self, path: Path) -> str:
        return self._machine.type


@contextmanager
def in_time(seconds: int = 5) -> Iterator[None]:
    """Fail where the block would never end."""

    def late(*_: object) -> None:
        raise TimeoutError("this goes on for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


def descriptors_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def open_in(path: Path) -> list[str]:
    """The files of a directory that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that by which we look
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith(str(path))]


def fill(db: DB, keys: int = 300, size: int = 100) -> dict[bytes, bytes]:
    """Put random values of `size` bytes; return what was put."""
    model = {b"%04d" % number: os.urandom(size) for number in range(keys)}
    for key, value in model.items():
        db.put(key, value)
    return model


def entries(db: DB) -> tuple[Any, ...]:
    """Return the entries of the sealed segments, newest first."""
    return db._store.structure.current().manifest.segments


def used(path: Path) -> int:
    """The bytes of disk that the files of a store take."""
    return sum(file.stat().st_blocks * 512 for file in path.iterdir())


def rotate(db: DB) -> None:
    """Seal the segment that is being written, and begin the next one."""
    with db._store.committer.hold() as held:
        db._store.structure.rotate(held)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory with its bytes."""
    return {entry.name: entry.read_bytes() for entry in directory.iterdir() if entry.is_file()}
