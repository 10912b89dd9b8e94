"""A directory in memory, and an operating system that syncs nothing and is always in the same boot."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from stratakv.directory import Directory
from stratakv.files import Files

BOOT = 2**127 + 1


class QuickFiles(Files):
    def __init__(self) -> None:
        self.fdatasync = lambda fd: None

    def sync_directory(self, path: Path) -> None:
        pass

    def boot_id(self) -> int:
        return BOOT


def temporary() -> Path:
    """Return a new directory that goes when the process ends."""
    shared = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="stratakv-fuzz-", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def directory() -> Directory:
    return Directory(temporary(), QuickFiles())
