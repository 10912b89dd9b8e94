"""StrataKV: an embedded, log-structured key-value engine."""

from __future__ import annotations

import os
from typing import Never

from stratakv.arguments import LONGEST_TTL
from stratakv.attach import check_directory
from stratakv.backup import BackupReport
from stratakv.db import DB
from stratakv.directory import NetworkFileSystemWarning
from stratakv.errors import (
    ClosedError,
    CorruptionError,
    DirectoryError,
    DiskFullError,
    FormatError,
    InvalidKeyError,
    InvalidTTLError,
    InvalidValueError,
    KeyNotFoundError,
    LockError,
    OptionError,
    ReadOnlyError,
    RemovedError,
    StorageError,
    StoreBusyError,
    StrataKVError,
    SyncError,
    TransactionError,
)
from stratakv.key_lock import Lock
from stratakv.maintenance.compaction import CompactionReport
from stratakv.maintenance.work import MaintenanceReport
from stratakv.options import Options
from stratakv.recover import recover
from stratakv.recovery.report import Finding, KeptLog, RecoveryReport
from stratakv.rescue import RescueReport, rescue
from stratakv.soundness import Damage
from stratakv.stats import SegmentStats, Stats
from stratakv.transaction import Transaction
from stratakv.verify import VerifyReport

__version__ = "0.1.0"

__all__ = [
    "DB",
    "LONGEST_TTL",
    "BackupReport",
    "ClosedError",
    "CompactionReport",
    "CorruptionError",
    "Damage",
    "DirectoryError",
    "DiskFullError",
    "Finding",
    "FormatError",
    "InvalidKeyError",
    "InvalidTTLError",
    "InvalidValueError",
    "KeptLog",
    "KeyNotFoundError",
    "Lock",
    "LockError",
    "MaintenanceReport",
    "NetworkFileSystemWarning",
    "OptionError",
    "Options",
    "ReadOnlyError",
    "RecoveryReport",
    "RemovedError",
    "RescueReport",
    "SegmentStats",
    "Stats",
    "StorageError",
    "StoreBusyError",
    "StrataKVError",
    "SyncError",
    "Transaction",
    "TransactionError",
    "VerifyReport",
    "check_directory",
    "open",
    "recover",
    "rescue",
]


def open(
    path: str | os.PathLike[str],
    *,
    durability: str = "always",
    read_only: bool = False,
    mode: int = 0o700,
    max_value_bytes: int = 256 * 2**20,
    segment_bytes: int = 64 * 2**20,
    sync_interval: float = 1.0,
    max_bytes: int | None = None,
    maintenance: str = "auto",
    create: bool = True,
    **unknown: Never,
) -> DB:
    """Open the store in the directory `path`, made where there is none, and return a handle on it.

    durability: what a power cut may cost: "always" nothing, as every write is on disk when it returns;
        "interval" the last `sync_interval` seconds; "os" what the kernel had not written by itself.
    read_only: refuse writes through this handle.
    mode: permissions of the directory, 0o700, or 0o770 to share it with its group; files get the same without
        the execute bits.
    max_value_bytes: the largest value accepted, in bytes, up to 4 GiB less one byte.
    segment_bytes: size at which a log is sealed and the next one is started, in bytes.
    sync_interval: seconds between two syncs at the level "interval".
    max_bytes: the budget: bytes of disk the store may take, kept by evicting; 0 for no limit. It is part of
        the store: None leaves it as it is, any other value sets it for all processes.
    maintenance: "auto" starts a process in the background when there is something to tidy up, "manual"
        leaves that to `maintain`, `compact` and the commands.
    create: make the directory and the store where there is none.

    Raises OptionError for an unknown or a wrong option, DirectoryError for a directory that is no store,
    is someone else's or of a newer format, ReadOnlyError where it cannot be written, CorruptionError
    where the manifest is damaged.
    """
    given = {
        "durability": durability,
        "read_only": read_only,
        "mode": mode,
        "max_value_bytes": max_value_bytes,
        "segment_bytes": segment_bytes,
        "sync_interval": sync_interval,
        "max_bytes": max_bytes,
        "maintenance": maintenance,
        "create": create,
    }
    return DB(path, Options.parse(given | unknown))
