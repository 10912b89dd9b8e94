"""One open store: its parts, wired together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakMethod

from stratakv.attach import attach, seal_active
from stratakv.bias import Bias
from stratakv.commit import Committer
from stratakv.control import open_control
from stratakv.directory import Directory
from stratakv.errors import DiskFullError, RemovedError
from stratakv.group import GroupCommit
from stratakv.locks import FileLock
from stratakv.maintenance.keeper import Keeper
from stratakv.maintenance.work import Maintenance
from stratakv.options import Durability, MaintenanceMode, Options
from stratakv.reader import Reader
from stratakv.snapshots import Snapshots
from stratakv.structure import Structure
from stratakv.sync import Syncer
from stratakv.view import FORKED
from stratakv.writer import Writer

logger = logging.getLogger("stratakv")

# Device and inode of the directory, and whether the store is opened for reading only.
Identity = tuple[int, int, bool]


class Store:
    """The parts of one open store.

    identity: what it is found by in this process. users: how many handles share it. keeper: None where nobody
    is to watch over the maintenance.
    """

    def __init__(self, directory: Directory, options: Options, identity: Identity) -> None:
        self.directory = directory
        self.options = options
        self.identity = identity
        self.users = 0
        self.write = directory.writable()
        # Where each put is synced, a store into the map costs more than it saves: the sync takes the page
        # away from the map, and the next put has to ask for it again.
        directory.mapped_writes &= options.durability is not Durability.ALWAYS
        self._attach_lock = attach(directory, options, write=self.write)
        try:
            self._wire()
        except BaseException:
            self._attach_lock.free()  # a child forked meanwhile may have the file open, too
            raise

    def _wire(self) -> None:
        directory, options = self.directory, self.options
        writer_lock, bias_lock, sync_lock = self._open_locks()
        self.control = open_control(directory, write=self.write)
        self.structure = Structure(
            directory,
            self.control,
            options.segment_bytes,
            write=self.write,
            reattach=WeakMethod(self._reattach),
        )
        if self.write:
            self.control.claim_row()
            self.control.forget_ahead()
        bias = Bias(directory.files, bias_lock, self.control)
        self.committer = Committer(directory.files, writer_lock, bias, self.control, self.structure)
        self.snapshots = Snapshots(self.structure, self.committer.hold if self.write else None)
        self.reader = Reader(self.snapshots)
        self.syncer = Syncer(
            self.structure, self.committer, sync_lock, options.sync_interval, self.reader.publish
        )
        self.group = GroupCommit(self.committer, self.syncer.reach, self.syncer.is_syncing)
        self.writer = Writer(
            self.structure,
            self.reader,
            self.committer,
            options.max_value_bytes,
            *self._durability(),
            self.syncer,
        )
        self.maintenance = Maintenance(self.structure, self.committer, self.syncer.reach_tip)
        self.keeper: Keeper | None = None
        if not self.write or options.read_only:
            return
        self._set_budget()
        is_watched = options.maintenance is MaintenanceMode.AUTO
        is_due = is_watched and self.maintenance.due.is_due()
        # IMPORTANT: nothing that can fail comes after a thread was started, which would keep the files open.
        if options.durability is Durability.INTERVAL and self.syncer.is_behind():
            self.syncer.keep_going(0)  # those who wrote it may be dead
        if is_watched:
            self.keeper = Keeper(self.maintenance, directory, _child_options(options))
            self.structure.rotated = self.keeper.wake
            if is_due:
                self.keeper.wake()

    def _open_locks(self) -> tuple[FileLock, FileLock, FileLock]:
        """Open writer.lock, bias.lock and sync.lock for this process."""
        return (
            FileLock(self.directory, "writer.lock", write=self.write),
            FileLock(self.directory, "bias.lock", write=self.write),
            FileLock(self.directory, "sync.lock", write=self.write),
        )

    def _set_budget(self) -> None:
        """Make the budget that was asked for that of the store, where the disk has room for the change."""
        wanted = self.options.max_bytes
        if wanted is not None and wanted != self.structure.view.manifest.max_bytes:
            try:
                with self.committer.hold() as held:
                    self.structure.set_budget(held, wanted)
            except DiskFullError as full:  # what is there can be read all the same
                logger.warning("%s; until then the store keeps the budget that it had", full)

    def _durability(self) -> tuple[Callable[[bytes, int, int, bytes, int], int], Callable[[int], None]]:
        """Return what commits a single record, and what is to be done after each commit."""
        if self.options.durability is Durability.ALWAYS:
            return self.group.commit_one, self.syncer.reach
        if self.options.durability is Durability.INTERVAL:
            return self.committer.commit_one, self.syncer.keep_going
        return self.committer.commit_one, lambda end: None

    def publish(self) -> None:
        """Put this process's counts where other processes see them."""
        self.reader.publish()
        self.committer.publish()

    def forked(self) -> None:
        """Leave the parent's locks to the parent; the next operation attaches this process for itself.

        The descriptors must go now: an inherited one would keep a lock that its owner thinks is free.
        """
        self._attach_lock.close()
        self.committer.close()
        self.syncer.lock.close()
        self.maintenance.begin_process()
        if self.keeper:
            self.keeper.begin_process()
        self.structure.forked()
        self.committer.begin_process()
        self.syncer.begin_process()
        self.group.begin_process()

    def _reattach(self) -> None:
        self._attach_lock = attach(self.directory, self.options, write=self.directory.writable())
        self.committer.lock, self.committer.bias.lock, self.syncer.lock = self._open_locks()
        self.reader.hits = 0
        if self.write:
            self.control.claim_row()

    def close(self) -> None:
        """Let go of the directory; the last process to do so leaves the store sealed."""
        if self.structure.view.generation == FORKED:
            return  # a child that never used it: everything is the parent's
        try:
            self._sync()
        finally:
            self.syncer.stop()
            if self.keeper:
                # Else the two would hold each other, and the files be open until the garbage is collected.
                self.structure.rotated = lambda: None
                self.keeper.stop()
            try:
                with self.committer.stopped():
                    try:
                        if self.write:
                            self._leave()
                    finally:
                        self.committer.close()
                self._sync()  # what other threads have committed meanwhile; none does from here on
            finally:
                self.committer.close()  # also where Ctrl-C ended the waiting
                self.syncer.stop()  # a commit of another thread may have started it again
                self.syncer.lock.close()
                self._attach_lock.free()

    def _sync(self) -> None:
        if self.options.durability is not Durability.OS and self.write and not self.options.read_only:
            self.syncer.reach_tip()

    def _leave(self) -> None:
        self.publish()
        self.control.leave_row()
        self.committer.leave()
        if self._attach_lock.try_exclusive():
            with suppress(RemovedError):  # nobody will open it here
                seal_active(self.control, self.structure.current().active)


def _child_options(options: Options) -> dict[str, object]:
    """Return what a maintenance process opens the same store with."""
    return {
        "durability": str(Durability.OS),
        "maintenance": str(MaintenanceMode.MANUAL),
        "mode": options.mode,
        "segment_bytes": options.segment_bytes,
        "create": False,
    }
