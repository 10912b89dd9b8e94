"""`stratakv.rescue`: make a store usable that does not open, for those who can live without what is in it.

For a cache a value that was replaced or deleted since is worse than none. So the store is recovered only
where nothing is lost by that, as in mode "strict". Otherwise its files go into lost+found, as a whole, and
an empty store takes its place. They are linked there first; the manifest of the empty store, installed by
one rename, is the moment at which it is the store; only then are they removed. So whoever dies at it leaves
the one or the other.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from stratakv import manifest
from stratakv.attach import prepare
from stratakv.directory import FORMAT_NAME, MANIFEST_NAME, OLD_MANIFEST_NAME, Directory
from stratakv.errors import (
    CorruptionError,
    DirectoryError,
    FormatError,
    StoreBusyError,
    StrataKVError,
    reported,
)
from stratakv.locks import FileLock
from stratakv.lost_found import LostFound
from stratakv.manifest import Manifest
from stratakv.opening import open_sealed
from stratakv.options import Options
from stratakv.recover import directory_of, recover_alone
from stratakv.recovery.renewal import Renewal
from stratakv.recovery.report import Mode, RecoveryReport
from stratakv.recovery.survey import empty
from stratakv.segment_files import map_index, open_log

_TRIES = 50
_PAUSE = 0.1  # seconds, at most, between two tries
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # what a process lacks, and may have in a moment


@dataclass(frozen=True, slots=True)
class RescueReport:
    """What was done about a store that did not open.

    action: "none" where it does open, "recovered" where nothing was lost by that, or "set aside". reason:
    what was wrong, "" for nothing. set_aside: the directory where the old store now is, on which
    `stratakv.recover` works as on any other. recovery: the report of the recovery.
    """

    action: str
    reason: str = ""
    set_aside: str | None = None
    recovery: RecoveryReport | None = None


def rescue(path: str | os.PathLike[str]) -> RescueReport:
    """Recover the store in `path` if nothing is lost by that, else set it aside and begin an empty one.

    Only for damage: where anything else is in the way, it is raised and nothing is changed. DirectoryError
    where the directory is no store, or not ours; FormatError for one of a newer StrataKV; ReadOnlyError;
    StoreBusyError where the store is damaged and still open somewhere; StorageError, DiskFullError. Any
    number of processes may call this at once: one does it, and the others find it done.
    """
    directory = directory_of(path)
    directory.enter(create=False)
    _check_ours(directory)
    with FileLock(directory, "attach.lock", write=True) as lock, reported(directory.path):
        for _ in range(_TRIES):
            if lock.try_exclusive():
                return _rescue(directory)
            lock.shared()  # once the one who was faster has finished
            if not _damage(directory, _look):
                return RescueReport("none")
            # Whoever has it may be about to find out that it does not open, as we did.
            lock.release()
            time.sleep(_PAUSE * random.random())
        raise StoreBusyError(f"{directory.path} is damaged, and still open in another process")


def _check_ours(directory: Directory) -> None:
    """Raise DirectoryError unless FORMAT or, where it is lost, a sound log or manifest says it is a store."""
    try:
        if directory.is_store():
            return
        directory.check_unclaimed()
    except FormatError:
        raise
    except DirectoryError:
        known = directory.format_is_damaged() or not directory.files.is_there(directory.path / FORMAT_NAME)
        if not known or directory.foreign() or not _has_sound_parts(directory):
            raise


def _has_sound_parts(directory: Directory) -> bool:
    for number in directory.numbers("log"):
        try:
            open_log(directory, number, write=False)
        except (CorruptionError, FileNotFoundError):
            continue
        return True
    try:
        manifest.load(directory)
    except CorruptionError:
        return False
    return True


def _damage(directory: Directory, look: Callable[[Directory], None]) -> str | None:
    """Return what keeps the store from opening; None where nothing does. Raises what is no damage.

    look: finds damage in what is a store, and raises it.
    """
    if directory.format_is_damaged():
        return f"{FORMAT_NAME} is damaged"
    if not directory.is_store():
        return _unclaimed(directory)
    try:
        look(directory)
    except CorruptionError as damage:
        return f"{damage.path} is damaged at byte {damage.offset}: {damage.reason}"
    except FileNotFoundError as missing:
        return f"{missing.filename} is missing"
    return None


def _unclaimed(directory: Directory) -> str | None:
    """Return None for a directory in which a store can be made."""
    try:
        directory.check_unclaimed()
    except DirectoryError:
        return f"{FORMAT_NAME} is missing"
    return None


def _look(directory: Directory) -> None:
    """Open what a handle opens, and change nothing."""
    found = manifest.load(directory)
    _open_logs(directory, found)
    _open_index(directory, found.active)


def _look_and_prepare(directory: Directory) -> None:
    """Open the logs, make the store fit for use as the first process to open it does, and look again.

    That may recover the store, so the caller must be alone with it.
    """
    # IMPORTANT: first. Where a log is missing, `prepare` may go back to what the store was before that log.
    _open_logs(directory, manifest.load(directory))
    prepare(directory, Options(), write=True)
    _look(directory)


def _open_logs(directory: Directory, found: Manifest) -> None:
    for entry in found.segments:
        open_sealed(directory, entry, write=False).read_ranges()
    open_log(directory, found.active, write=False).read_ranges()


def _open_index(directory: Directory, active: int) -> None:
    if not map_index(directory, open_log(directory, active, write=False), write=False):
        raise CorruptionError(directory.index_path(active), 0, "the index is missing or damaged")


def _rescue(directory: Directory) -> RescueReport:
    reason = _damage(directory, _look_and_prepare)
    if reason is None:
        return RescueReport("none")
    try:
        recovery = recover_alone(directory, Mode.STRICT)
    except (CorruptionError, DirectoryError) as refusal:
        if getattr(refusal.__cause__, "errno", None) in _PASSING:
            raise  # it is not the store that is damaged here
        return RescueReport("set aside", reason, _set_aside(directory))
    if _damage(directory, _look_and_prepare):
        return RescueReport("set aside", reason, _set_aside(directory))
    return RescueReport("recovered", reason, recovery=recovery)


def _set_aside(directory: Directory) -> str:
    """Link the store's files into lost+found, then begin an empty one in their place."""
    lost_found = LostFound(directory)
    renewal = Renewal(directory, Options().segment_bytes, empty(directory), [])
    logs = [directory.log_path(number).name for number in directory.numbers("log")]
    try:
        for name in (*logs, OLD_MANIFEST_NAME, MANIFEST_NAME, FORMAT_NAME):
            if directory.files.is_there(directory.path / name):
                lost_found.link(name)
        lost_found.sync()
        renewal.run()
    except (StrataKVError, OSError):
        if not renewal.begun:
            lost_found.give_up()
        raise
    directory.write_format()
    return str(directory.path / (lost_found.folder or ""))
