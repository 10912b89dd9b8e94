"""Attaching to a directory: alone or not, after a clean close, a kill or a reboot.

Every process that has the store open shares attach.lock. Whoever gets it alone prepares the store: makes
it, recovers it, checks what must be checked before it is trusted. CONTROL's state says whether that has
been done; whoever comes second and finds it undone (the first one failed, or has left since) tries again.
"""

from __future__ import annotations

import logging
import os
import time
from random import random

from stratakv import index, manifest
from stratakv.arguments import absolute
from stratakv.budget import lost_found_limit
from stratakv.control import (
    W_BUSY,
    W_INDEXED,
    W_STATE,
    W_TIP,
    W_USED,
    Control,
    State,
    open_control,
    start_control,
)
from stratakv.directory import CONTROL_NAME, Directory
from stratakv.errors import (
    CorruptionError,
    DirectoryError,
    ReadOnlyError,
    StoreBusyError,
    StrataKVError,
    reported,
)
from stratakv.files import Files
from stratakv.locks import FileLock
from stratakv.log import OFFSET_BITS, OFFSET_MASK
from stratakv.manifest import Manifest
from stratakv.opening import begin_empty, check_indexes
from stratakv.options import Options
from stratakv.orphans import remove_orphans
from stratakv.recovery.report import Mode, RecoveryReport
from stratakv.recovery.run import Recovery
from stratakv.resume import resume
from stratakv.segment import Segment

logger = logging.getLogger("stratakv")

# A try fails where whoever was to prepare the store has failed, or has just left it. Before the next one a
# process sleeps for a random time without the lock. It shares the lock while it looks whether the store is
# prepared, so processes that looked all the time would keep each other from getting it alone.
_TRIES = 200
_PAUSE = 0.01  # seconds


def check_directory(path: str | os.PathLike[str], options: Options) -> None:
    """Raise what keeps this user from opening a store in the directory `path`; change nothing.

    Whatever `open` would say, but for damage, which may be mended: DirectoryError, also where there is no
    directory, FormatError for a store of a newer StrataKV, ReadOnlyError.
    """
    directory = Directory(absolute(path), Files(), options.mode)
    with reported(directory.path):
        directory.enter(create=False)
        if not _format_is_lost(directory):
            _check_use(directory, options, write=directory.writable())


def _format_is_lost(directory: Directory) -> bool:
    """Whether the store has no FORMAT any more, or a damaged one."""
    return directory.format_is_damaged() or (bool(directory.numbers("log")) and not directory.is_store())


def _check_use(directory: Directory, options: Options, *, write: bool) -> None:
    """Raise what keeps this user, who may write or not, from opening the store."""
    if not write and not options.read_only:
        raise ReadOnlyError(
            f"{directory.path} cannot be written by this user; run as one who may write to it, "
            "or only read it (in Python with read_only=True)"
        )
    if not directory.is_store():
        makes = options.create and not options.read_only
        if makes or directory.numbers("log"):
            _check_unclaimed(directory)  # which says how to get a store that has lost its FORMAT back
        if not makes:
            raise DirectoryError(f"{directory.path} is not a StrataKV store; nothing was created")


def attach(directory: Directory, options: Options, *, write: bool) -> FileLock:
    """Return attach.lock, held shared, with the store behind it prepared. write: it may be written."""
    _check_use(directory, options, write=write)
    lock = FileLock(directory, "attach.lock", write=write)
    try:
        for _ in range(_TRIES):
            if lock.try_exclusive():
                prepare(directory, options, write=write)
            lock.shared()
            if write:
                _take_up(directory)
            if _is_prepared(directory, write=write):
                return lock
            lock.release()
            time.sleep(random() * _PAUSE)
        raise _refusal(directory)
    except BaseException:
        lock.free()
        raise


def _refusal(directory: Directory) -> StrataKVError:
    """Say why a store that others have open is not fit for use by this process, and does not become so."""
    path = directory.path
    control = _control(directory)
    if control is None:
        return CorruptionError(
            path / CONTROL_NAME, 0, "it is missing or damaged while others have the store open"
        )
    if control.is_from(directory.files.boot_id()):
        return StoreBusyError(
            f"{path} is being opened or closed by a process that does not go on: "
            "let that one end, and try again"
        )
    return StoreBusyError(
        f"{path} is open in a container with a boot id of its own, as LXC and systemd-nspawn give: "
        "processes share a store where all read the same in /proc/sys/kernel/random/boot_id"
    )


def _check_unclaimed(directory: Directory) -> None:
    """Raise DirectoryError for a directory of other things, unless it has become a store this very moment."""
    try:
        directory.check_unclaimed()
    except DirectoryError:
        if not directory.is_store():
            raise


def _is_prepared(directory: Directory, *, write: bool) -> bool:
    control = _control(directory)
    if control is None or not control.is_from(directory.files.boot_id()):
        return False
    return control.words[W_STATE] == State.OPEN or not write


def _control(directory: Directory) -> Control | None:
    """Return the control page, None where it is missing or damaged."""
    try:
        control = open_control(directory, write=False)
    except FileNotFoundError:
        return None
    return control if control.is_sound() else None


def prepare(directory: Directory, options: Options, *, write: bool) -> None:
    """Make the store fit for use, alone with it."""
    if not directory.is_store():
        _create(directory, options)
        return
    found = manifest.load(directory)
    if not _survived(directory, found, write=write):
        if not write:
            raise ReadOnlyError(
                f"{directory.path} must be recovered after a reboot and cannot be written; "
                "open it once as a user who may write, or copy it"
            )
        limit = lost_found_limit(found.max_bytes)
        recovery = Recovery(directory, options.segment_bytes, Mode.POINT_IN_TIME, asked=False, limit=limit)
        _tell(directory, recovery.run(found))
        check_indexes(directory, manifest.load(directory))
        return
    if write:
        _tidy(directory, found)
        open_control(directory, write=True).words[W_STATE] = State.OPEN


def _tidy(directory: Directory, found: Manifest) -> None:
    """Remove what processes have left that are gone; there is none that writes."""
    open_control(directory, write=True).collect_rows()
    remove_orphans(directory, found, alone=True)


def _take_up(directory: Directory) -> None:
    """Make a closed store fit for writers that only those have open who may not write.

    They would keep whoever may from being alone with it for as long as they live.
    """
    control = _control(directory)
    if control is None or control.words[W_STATE] != State.CLEAN:
        return
    with FileLock(directory, "writer.lock", write=True) as lock:
        lock.exclusive()
        found = manifest.load(directory)
        if control.words[W_STATE] == State.CLEAN and _survived(directory, found, write=False):
            _tidy(directory, found)
            _survived(directory, found, write=True)  # from here on, others that write may come


def _tell(directory: Directory, report: RecoveryReport) -> None:
    """Log what a recovery that nobody asked for has done: damage as an error, a torn tail as a warning."""
    for finding in report.findings:
        logger.log(
            logging.ERROR if finding.damage else logging.WARNING,
            "%s: byte %d: %s: %s (%d bytes lost%s)",
            directory.path / finding.file,
            finding.offset,
            finding.action,
            finding.what,
            finding.lost_bytes,
            f", kept as {finding.saved_as}" if finding.saved_as else "",
        )


def _create(directory: Directory, options: Options) -> None:
    directory.check_unclaimed()
    max_bytes = options.max_bytes or 0
    header = begin_empty(directory, 1, 0, options.segment_bytes, max_bytes)
    first = Manifest(generation=1, active=1, next_number=2, max_bytes=max_bytes)
    manifest.install(directory, first)
    start_control(directory, first, header.first_link)
    directory.write_format()  # last: a directory without it is one whose making broke off


def _survived(directory: Directory, found: Manifest, *, write: bool) -> bool:
    """Whether CONTROL and the active index are of this boot and agree with the log, see `resume`."""
    try:
        control = open_control(directory, write=write)
        if not control.is_from(directory.files.boot_id()) or control.words[W_STATE] == State.NEW:
            return False
        return resume(directory, control, found, write=write)
    except FileNotFoundError:
        return False


def seal_active(control: Control, active: Segment) -> None:
    """Leave the store so that the next process can check what it finds; alone with it."""
    words = control.words
    if words[W_BUSY] or words[W_TIP] != words[W_INDEXED] or words[W_TIP] >> OFFSET_BITS != active.number:
        return  # a writer died in its commit: the next one to open the store heals it
    index.seal(active.arrays, words[W_USED], words[W_TIP] & OFFSET_MASK)
    words[W_STATE] = State.CLEAN
