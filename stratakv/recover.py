"""`stratakv.recover`: bring a store back by hand, whatever is left of it."""

from __future__ import annotations

import os
from dataclasses import replace

from stratakv import manifest
from stratakv.arguments import absolute
from stratakv.directory import FORMAT_NAME, Directory
from stratakv.errors import (
    CorruptionError,
    DirectoryError,
    FormatError,
    ReadOnlyError,
    StoreBusyError,
    reported,
)
from stratakv.files import Files
from stratakv.interrupted import check_refused
from stratakv.locks import FileLock
from stratakv.manifest import Manifest
from stratakv.opening import check_indexes
from stratakv.options import Options
from stratakv.progress import Progress, apart, untold
from stratakv.recovery.report import Finding, Mode, RecoveryReport, mode_of
from stratakv.recovery.run import Recovery


def recover(
    path: str | os.PathLike[str], mode: str = "point-in-time", progress: Progress | None = None
) -> RecoveryReport:
    """Check every log of the store in `path`, cut what is broken, and make indexes and CONTROL anew.

    The manifest is rebuilt from the logs where it is lost. Whatever is cut or removed goes into the folder
    `lost+found` of the directory first. mode: "point-in-time", "strict" or "salvage", see
    `stratakv.recovery`. progress: is told bytes done and bytes in all. Raises StoreBusyError while the store
    is open anywhere, CorruptionError in mode "strict", DirectoryError where there is no log, ReadOnlyError
    where it cannot be written, DiskFullError where what would be lost finds no room in `lost+found`; nothing
    was changed then.
    """
    chosen = mode_of(mode)
    directory = directory_of(path)
    directory.enter(create=False)
    if not directory.numbers("log"):
        raise DirectoryError(f"{directory.path} has no logs: there is nothing to recover")
    if not directory.writable():
        raise ReadOnlyError(
            f"{directory.path} cannot be written by this user; run as one who may write to it, "
            "or copy it and recover the copy"
        )
    with FileLock(directory, "attach.lock", write=True) as lock:
        if not lock.try_exclusive():
            raise StoreBusyError(
                f"{directory.path} is open; close every process that uses it, then recover it"
            )
        with apart(progress or untold) as told, reported(directory.path):
            return recover_alone(directory, chosen, told)


def directory_of(path: str | os.PathLike[str]) -> Directory:
    """Return the directory with the permissions it has, which may be those of a shared store."""
    files, where = Files(), absolute(path)
    try:
        return Directory(where, files, files.stat(where).st_mode & 0o770 | 0o700)
    except OSError as refusal:
        check_refused(refusal)
        return Directory(where, files)


def recover_alone(directory: Directory, mode: Mode, progress: Progress = untold) -> RecoveryReport:
    """Recover a store; attach.lock is held alone."""
    recovery = Recovery(directory, Options().segment_bytes, mode, progress)
    sound = _format_is_sound(directory)
    report = recovery.run(_manifest(directory))
    recovered = manifest.load(directory)
    for entry in recovered.segments:  # all are made anew, whatever they look like
        directory.discard(directory.index_path(entry.number))
    check_indexes(directory, recovered)
    return report if sound else _with_format(directory, recovery, report)


def _format_is_sound(directory: Directory) -> bool:
    """Whether FORMAT is there and sound; raises FormatError where it is that of a newer version."""
    try:
        return directory.is_store()
    except FormatError:
        raise
    except DirectoryError:
        return False


def _with_format(directory: Directory, recovery: Recovery, report: RecoveryReport) -> RecoveryReport:
    """Write FORMAT anew, and return the report that says so."""
    saved = None
    if directory.files.is_there(directory.path / FORMAT_NAME):
        saved = recovery.lost_found.link(FORMAT_NAME)
        recovery.lost_found.sync()
    directory.write_format()
    finding = Finding(FORMAT_NAME, 0, "rebuilt", "lost or damaged; written anew", 0, True, saved)
    findings = (finding, *report.findings)
    return replace(report, damage=True, lost_found=recovery.lost_found.folder, findings=findings)


def _manifest(directory: Directory) -> Manifest | None:
    try:
        return manifest.load(directory)
    except CorruptionError:
        return None
