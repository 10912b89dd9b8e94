"""lost+found: what recovery takes out of a store is put there first.

A run that has something to put there makes a folder of its own, named by the moment:
`lost+found/2026-11-25T21-03-00Z`, with `-2` and so on behind it where there is one. Nothing in there is
ever overwritten, read again or removed by the engine. A whole file keeps its name; what was cut off a log
at byte 1234 is in `000007.log.from-1234`.

Whole files get a second name, which takes no space; their first one goes when the store no longer needs it.
"""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from itertools import count
from mmap import mmap
from pathlib import Path

from stratakv.directory import LOST_FOUND_NAME, Directory
from stratakv.errors import reported
from stratakv.files import Files, now_ms
from stratakv.interrupted import check_refused, unless_refused

_STEP_BYTES = 8 * 2**20


class LostFound:
    """What one run puts away. limit: bytes that lost+found may take as a whole; None for any number."""

    def __init__(self, directory: Directory, limit: int | None = None) -> None:
        self._directory = directory
        self._files = directory.files
        self._room = limit
        self._asked = False
        self._folder: Path | None = None
        self._names: list[str] = []

    @property
    def folder(self) -> str | None:
        """The folder of this run within the store's directory; None while it has put nothing away."""
        return f"{LOST_FOUND_NAME}/{self._folder.name}" if self._folder else None

    def link(self, name: str) -> str | None:
        """Give a file of the store a second name here, its bytes durable; None where the limit forbids it."""
        path = self._directory.path / name
        if not self._has_room(self._files.allocated(path)):
            return None
        with reported(path):
            with self._directory.open(path, write=False) as file:
                self._files.fdatasync(file.fileno())
            self._files.link(path, self._here() / name)
        return self._took(name)

    def copy(self, name: str, log: mmap, start: int, end: int) -> str | None:
        """Copy the bytes from `start` to `end` of the log `name`; None where the limit forbids it."""
        if not self._has_room(end - start):
            return None
        part = f"{name}.from-{start}"
        with reported(self._directory.path / LOST_FOUND_NAME):
            path = self._here() / part
            self._took(part)
            with self._directory.open(path, write=True, create=True) as file:
                fd = file.fileno()
                for offset in range(start, end, _STEP_BYTES):
                    self._files.write_all(fd, log[offset : min(end, offset + _STEP_BYTES)], offset - start)
                self._files.fdatasync(fd)
        return f"{self.folder}/{part}"

    def sync(self) -> None:
        """Return once everything here is on disk; before that, nothing may leave the store."""
        if self._folder:
            with reported(self._folder):
                self._files.sync_directory(self._folder)

    def give_up(self) -> None:
        """Take back what was linked and copied, as far as that is possible; the store still has all of it."""
        if self._folder:
            with unless_refused():
                for name in self._names:
                    self._files.unlink(self._folder / name)
                self._files.remove_folder(self._folder)
            self._folder = None

    def _took(self, name: str) -> str:
        self._names.append(name)
        return f"{self.folder}/{name}"

    def _has_room(self, size: int) -> bool:
        if self._room is None:
            return True
        if not self._asked:
            self._room, self._asked = self._room - lost_found_bytes(self._directory), True
        if size > self._room:
            return False
        self._room -= size
        return True

    def _here(self) -> Path:
        """Return the folder of this run, made at the first call."""
        if self._folder is None:
            above = self._directory.path / LOST_FOUND_NAME
            if not self._files.is_there(above):
                self._files.make_folder(above, self._directory.mode)
            self._folder = self._new_folder(above)
        return self._folder

    def _new_folder(self, above: Path) -> Path:
        moment = datetime.fromtimestamp(now_ms() // 1000, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        for again in count(1):
            folder = above / (moment if again == 1 else f"{moment}-{again}")
            try:
                self._files.make_folder(folder, self._directory.mode)
            except FileExistsError:
                continue
            return folder
        raise AssertionError  # pragma: no cover: a count does not end


def lost_found_bytes(directory: Directory) -> int:
    """Return the bytes of disk that lost+found takes; 0 where there is none, or we may not look into it."""
    return _bytes_below(directory.files, directory.path / LOST_FOUND_NAME)


def _bytes_below(files: Files, folder: Path) -> int:
    try:
        total = files.allocated(folder) + files.allocated_in(folder)
        for name in files.names(folder):
            if stat.S_ISDIR(files.stat(folder / name).st_mode):
                total += _bytes_below(files, folder / name) - files.allocated(folder / name)
    except OSError as refusal:
        check_refused(refusal)
        return 0
    return total
