"""`stratakv.recover`: bring a store back by hand, whatever is left of it."""

from __future__ import annotations

import os
from pathlib import Path

from stratakv import manifest
from stratakv.directory import Directory
from stratakv.errors import CorruptionError, DirectoryError, FormatError, StoreBusyError
from stratakv.files import Files
from stratakv.locks import FileLock
from stratakv.manifest import Manifest
from stratakv.opening import check_indexes
from stratakv.options import Options
from stratakv.progress import Progress
from stratakv.recovery import Recovery
from stratakv.recovery_report import RecoveryReport, mode_of


def recover(
    path: str | os.PathLike[str], mode: str = "point-in-time", progress: Progress | None = None
) -> RecoveryReport:
    """Check every log of the store in `path`, cut what is broken, and make indexes and CONTROL anew.

    The manifest is rebuilt from the logs where it is lost. mode: "point-in-time", "strict" or "salvage",
    see `stratakv.recovery`. progress: is told bytes done and bytes in all. Raises StoreBusyError while
    the store is open anywhere, CorruptionError in mode "strict", DirectoryError where there is no log.
    """
    chosen = mode_of(mode)
    directory = _directory(Path(path).absolute(), Files())
    directory.enter(create=False)
    if not directory.numbers("log"):
        raise DirectoryError(f"{directory.path} has no logs: there is nothing to recover")
    lock = FileLock(directory, "attach.lock", write=True)
    try:
        if not lock.try_exclusive():
            raise StoreBusyError(
                f"{directory.path} is open; close every process that uses it, then recover it"
            )
        return _recover(directory, Recovery(directory, Options().segment_bytes, chosen, progress))
    finally:
        lock.free()


def _directory(path: Path, files: Files) -> Directory:
    """Return the directory with the permissions it has, which may be those of a shared store."""
    try:
        return Directory(path, files, files.stat(path).st_mode & 0o770 | 0o700)
    except OSError:
        return Directory(path, files)


def _recover(directory: Directory, recovery: Recovery) -> RecoveryReport:
    _check_format(directory)
    report = recovery.run(_manifest(directory), trust=False)
    for number in directory.numbers("idx"):
        if number in (entry.number for entry in manifest.load(directory).segments):
            directory.files.unlink(directory.index_path(number))
    check_indexes(directory, manifest.load(directory), write=True)
    directory.write_format()
    return report


def _check_format(directory: Directory) -> None:
    """Let a lost or damaged FORMAT pass, but not one of a newer version."""
    try:
        directory.is_store()
    except FormatError:
        raise
    except DirectoryError:
        return


def _manifest(directory: Directory) -> Manifest | None:
    try:
        return manifest.load(directory)
    except CorruptionError:
        return None
