"""The files of a store at one moment, to be put back as often as a test needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.machine import content, flip


class Before:
    """What the files of a directory hold now. `restore` rewrites those that have changed since.

    sealed: names of files that change by `pwrite` only, if at all. Of those the time tells whether they have;
    all others are read, which for all of a large store, thousands of times, would take too long.
    """

    def __init__(self, path: Path, sealed: Collection[str] = ()) -> None:
        self.path, self.files, self._sealed = path, content(path), sealed

    @contextmanager
    def flipped(self, name: str, offset: int, bit: int) -> Iterator[None]:
        """Flip one bit, and flip it back at the end if the file is then still the same."""
        file = self.path / name
        _flip_untimed(file, offset, bit)
        yield
        if self._is_untouched(file):
            _flip_untimed(file, offset, bit)

    def restore(self) -> None:
        for entry in self.path.iterdir():
            if entry.name in self.files:
                continue
            if entry.is_dir():
                shutil.rmtree(entry)  # what a recovery has put into lost+found
            else:
                entry.unlink()
        for name, data in self.files.items():
            self._put_back(self.path / name, data)

    def _put_back(self, file: Path, data: bytes) -> None:
        if self._is_untouched(file):
            return
        if not file.is_file() or file.read_bytes() != data:
            file.write_bytes(data)
        if file.name in self._sealed:
            os.utime(file, (0, 0))

    def _is_untouched(self, file: Path) -> bool:
        """Whether nobody has written to it since its time was set."""
        return file.name in self._sealed and file.exists() and not file.stat().st_mtime_ns


def _flip_untimed(file: Path, offset: int, bit: int) -> None:
    flip(file, offset, bit)
    os.utime(file, (0, 0))
