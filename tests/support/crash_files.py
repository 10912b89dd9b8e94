"""A file layer that remembers what a disk would, and that fails when told to.

`CrashFiles` stands behind the engine's only door to the operating system. The files are real, so that maps
are; but all that changes them goes into a trace as well, one step for each call: what was stored through
maps until then, and the change that the call makes. A `Disk` follows the trace and says what can be found
after a crash at any step of it:

- what was synced is there: of a file its bytes and its size, of a directory its entries;
- of everything else any part may be: each sector of each write, each size the file has had, each entry
  made, renamed or removed, in any combination;
- a sync that failed has thrown away what it should have written, and the next one knows nothing of that.

A crash of the processes alone leaves everything as it was in the kernel's memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stratakv.files import Files
from stratakv.open_file import OpenFile

SECTOR = 512

# The content of a directory after a crash: each file's bytes by its name, None for a directory.
Image = dict[str, bytes | None]


class Write(NamedTuple):
    file: int
    offset: int
    data: bytes


class Resize(NamedTuple):
    file: int
    size: int


class Sync(NamedTuple):
    file: int


class FailedSync(NamedTuple):
    file: int


class Name(NamedTuple):
    """A new entry of a directory; `file` is 0 for a directory."""

    file: int
    name: str


class Rename(NamedTuple):
    file: int
    source: str
    name: str


class Unname(NamedTuple):
    name: str


class SyncDirectory(NamedTuple):
    name: str


Change = Write | Resize | Sync | FailedSync | Name | Rename | Unname | SyncDirectory
Entry = Name | Rename | Unname


class Step(NamedTuple):
    """One call to the kernel: what was stored through maps before it, and what it changes."""

    stores: tuple[Write, ...]
    change: Change


# -- what is left after a crash ----------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)

    def content(self, keep: Callable[[], bool]) -> bytes:
        """Return what a crash leaves, where `keep` says of each part whether it had reached the disk."""
        content = bytearray(self.durable)
        sizes = [len(content)]
        for change in self.pending:
            size = sizes[-1]
            if isinstance(change, Resize):
                size = change.size
                if keep():
                    del content[size:]
            else:
                size = max(size, change.offset + len(change.data))
                for start, part in _sectors(change):
                    if keep():
                        _put(content, start, part)
            if size != sizes[-1]:
                sizes.append(size)
        size = next((size for size in reversed(sizes[1:]) if keep()), sizes[0])
        return bytes(content[:size]).ljust(size, b"\0")

    def sync(self) -> None:
        self.durable = bytearray(self.content(lambda: True))
        self.pending = []


def _sectors(write: Write) -> Iterator[tuple[int, bytes]]:
    """Cut a write where sectors begin: of each, all is written or nothing."""
    offset, data = write.offset, write.data
    start = 0
    while start < len(data):
        stop = start + SECTOR - (offset + start) % SECTOR
        yield offset + start, data[start:stop]
        start = stop


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """What the disk holds, and what it might, at one step of a trace.

    Starts from the image of a directory in which everything is durable.
    """

    def __init__(self, image: Image, ids: dict[str, int]) -> None:
        self._files = {ids[name]: _File(bytearray(data)) for name, data in image.items() if data is not None}
        self._names = {name: ids.get(name, 0) for name in image}
        self._pending: list[Entry] = []

    def store(self, step: Step) -> None:
        """Take what was stored through maps before the call of `step`."""
        for write in step.stores:
            self._file(write.file).pending.append(write)

    def call(self, step: Step) -> None:
        """Take what the call of `step` changes."""
        change = step.change
        match change:
            case Write() | Resize():
                self._file(change.file).pending.append(change)
            case Sync():
                self._file(change.file).sync()
            case FailedSync():
                self._file(change.file).pending = []
            case SyncDirectory():
                self._sync_directory(change.name)
            case _:
                self._pending.append(change)

    def _file(self, number: int) -> _File:
        return self._files.setdefault(number, _File())

    def _sync_directory(self, directory: str) -> None:
        left: list[Entry] = []
        for change in self._pending:
            if directory in _directories(change):
                _apply(self._names, change)
            else:
                left.append(change)
        self._pending = left

    def after(self, keep: Callable[[], bool]) -> Image:
        """Return what a crash leaves; `keep` says of each part that is not synced whether it is there."""
        names = dict(self._names)
        for change in self._pending:
            if keep():
                _apply(names, change)
        found: Image = {}
        for name in sorted(names):
            parent = str(Path(name).parent)
            if parent == "." or parent in found:  # else the directory it was in was not kept
                found[name] = self._file(names[name]).content(keep) if names[name] else None
        return found


def _directories(change: Entry) -> set[str]:
    names = {change.name, change.source} if isinstance(change, Rename) else {change.name}
    return {str(Path(name).parent) for name in names}


def _apply(names: dict[str, int], change: Entry) -> None:
    if isinstance(change, Name):
        names[change.name] = change.file
    elif isinstance(change, Unname):
        names.pop(change.name, None)
    else:
        names[change.name] = change.file
        names.pop(change.source, None)


def everything() -> bool:
    return True


def nothing() -> bool:
    return False


def some(seed: int) -> Callable[[], bool]:
    """Return a choice that is the same for the same seed; how much it keeps differs from seed to seed."""
    dice = random.Random(seed)
    share = dice.choice((0.1, 0.5, 0.9))
    return lambda: dice.random() < share


def write_image(image: Image, directory: Path) -> None:
    """Make a directory of what a crash left."""
    directory.mkdir(mode=0o700)
    for name, data in image.items():
        if data is None:
            (directory / name).mkdir(mode=0o700)
        else:
            fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, data)
            os.close(fd)


def read_image(directory: Path) -> Image:
    """Return what is in a directory, by names relative to it."""
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


# -- the layer itself --------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What the kernel answers once: an error or, with `error` 0, having done half of what was asked."""

    error: int

    def __str__(self) -> str:
        return errno.errorcode.get(self.error, "short")


# What the engine asks of the kernel without changing anything on disk. `close` is not among them: Linux
# closes the file whatever it answers, and `Files` ignores the answer.
_QUESTIONS = (
    "flock",
    "pread",
    "clear",
    "size",
    "allocated",
    "allocated_in",
    "free",
    "stat",
    "names",
    "forget",
)


class CrashFiles(Files):
    """The engine's door, with a trace of all that changes in the directory `root`, which must exist.

    boot: the machine has been started so many times. faults: what the call of a number answers, counted from
    1 on; `calls` has their names. Nothing is counted or refused while `quiet`. type: of the file system.
    """

    def __init__(self, root: Path, boot: int = 1) -> None:
        self.root = root
        self.boot = boot
        self.type = "ext4"
        self.trace: list[Step] = []
        self.calls: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.quiet = False
        self._ids: dict[int, int] = {}  # by inode
        self._contents: dict[int, bytearray] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self._links = 0
        self.image = read_image(root)
        self.ids: dict[str, int] = {}
        for name, data in self.image.items():
            if data is not None:
                self.ids[name] = self._know((root / name).stat().st_ino, data)
        for name in _QUESTIONS:
            setattr(self, name, self._question(name, getattr(Files, name)))

    def moments(self) -> Iterator[Disk]:
        """Yield the disk before the call of each step and behind the last; it is one, which goes on."""
        disk = Disk(self.image, self.ids)
        for step in self.trace:
            disk.store(step)
            yield disk
            disk.call(step)
        yield disk

    def now(self) -> Image:
        """Return what the processes of this machine see."""
        return read_image(self.root)

    # -- failing -----------------------------------------------------------------------------------------

    def _enter(self, name: str) -> bool:
        """Count a call; raise what it was told to answer, or return whether to do half of it."""
        if self.quiet:
            return False
        self.calls.append(name)
        fault = self.faults.get(len(self.calls))
        if fault is None:
            return False
        if fault.error:
            raise OSError(fault.error, os.strerror(fault.error))
        return True

    def _question(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        static = isinstance(Files.__dict__[name], staticmethod)

        def asked(*arguments: Any, **named: Any) -> Any:
            half = self._enter(name)
            answer = call(*arguments, **named) if static else call(self, *arguments, **named)
            return answer[: len(answer) // 2] if half and name == "pread" else answer

        return asked

    # -- the trace ---------------------------------------------------------------------------------------

    def _step(self, change: Change) -> None:
        self.trace.append(Step(tuple(self._stores()), change))

    def finish(self) -> None:
        """Put into the trace what was stored through maps since the last call."""
        self._step(SyncDirectory("nowhere"))

    def _stores(self) -> Iterator[Write]:
        """Find what has changed in the maps; beyond the end of its file, a map must not be touched."""
        for file, mapped in self._maps.items():
            known = self._contents[file]
            size = min(len(known), len(mapped))
            found = mapped[:size]
            if known.startswith(found):
                continue
            for start in range(0, size, SECTOR):
                part = found[start : start + SECTOR]
                if known[start : start + SECTOR] != part:
                    known[start : start + len(part)] = part
                    yield Write(file, start, part)

    def _know(self, inode: int, data: bytes = b"") -> int:
        number = self._ids[inode] = len(self._contents) + 1
        self._contents[number] = bytearray(data)
        return number

    def _id(self, fd: int) -> int:
        return self._ids[os.fstat(fd).st_ino]

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self.root)) + 1 :] or "."  # `relative_to` takes ten times as long

    # -- what changes something --------------------------------------------------------------------------

    def boot_id(self) -> int:
        return self.boot

    def file_system(self, path: Path) -> str:
        return self.type

    def random_u32(self) -> int:
        """The same in every run, so that the same work leaves the same bytes."""
        self._links += 1
        return self._links * 0x9E3779B1 & 0xFFFF_FFFF

    def open(self, path: Path, *, write: bool, create: bool = False, mode: int = 0o600) -> OpenFile:
        self._enter("open")
        new = create and not path.exists()
        file = super().open(path, write=write, create=create, mode=mode)
        if new:
            self._step(Name(self._know(os.fstat(file.fileno()).st_ino), self._name(path)))
        return file

    def pwrite(self, fd: int, data: Any, offset: int) -> int:  # type: ignore[override]
        half = self._enter("pwrite")
        written = bytes(data)
        if half and len(written) > 1:
            written = written[: len(written) // 2]
        file = self._id(fd)
        self._step(Write(file, offset, written))
        _put(self._contents[file], offset, written)
        return os.pwrite(fd, written, offset)

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]
        file = self._id(fd)
        try:
            self._enter("fdatasync")
        except OSError:
            self._step(FailedSync(file))
            raise
        self._step(Sync(file))

    def copy(self, source: int, target: int, size: int, after_each: Callable[[], object] = bool) -> None:
        self._enter("copy")
        self.pwrite(target, os.pread(source, size, 0), 0)
        after_each()

    def truncate(self, fd: int, size: int) -> None:
        self._enter("truncate")
        file = self._id(fd)
        self._step(Resize(file, size))
        content = self._contents[file]
        del content[size:]
        content.extend(bytes(size - len(content)))
        super().truncate(fd, size)

    def allocate(self, fd: int, end: int, start: int = 0) -> None:
        self._enter("allocate")
        file = self._id(fd)
        content = self._contents[file]
        if end > len(content):
            self._step(Resize(file, end))
            content.extend(bytes(end - len(content)))
        super().allocate(fd, end, start)

    def map(self, fd: int, size: int, *, write: bool = False) -> mmap.mmap:
        self._enter("map")
        mapped = super().map(fd, size, write=write)
        if write:
            self._maps[self._id(fd)] = mapped
        return mapped

    def make_directory(self, path: Path, mode: int) -> None:
        self._enter("make_directory")
        self._step(Name(0, self._name(path)))
        path.mkdir(mode=mode)
        self.sync_directory(path.parent)

    def make_folder(self, path: Path, mode: int) -> None:
        self.make_directory(path, mode)

    def remove_folder(self, path: Path) -> None:
        self._enter("remove_folder")
        self._step(Unname(self._name(path)))
        super().remove_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename")
        file = self._ids[source.stat().st_ino] if source.is_file() else 0
        self._step(Rename(file, self._name(source), self._name(target)))
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._enter("link")
        self._step(Name(self._ids[source.stat().st_ino], self._name(target)))
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        if path.exists():
            self._step(Unname(self._name(path)))
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._enter("sync_directory")
        self._step(SyncDirectory(self._name(path)))
