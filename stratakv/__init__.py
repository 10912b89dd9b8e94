"""StrataKV: an embedded, log-structured key-value engine."""

from __future__ import annotations

import os
from typing import Any

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
    OptionError,
    ReadOnlyError,
    StorageError,
    StoreBusyError,
    StrataKVError,
    SyncError,
    TransactionError,
)
from stratakv.maintenance.work import CompactionReport, MaintenanceReport
from stratakv.options import Options
from stratakv.recover import recover
from stratakv.recovery_report import Finding, KeptLog, RecoveryReport
from stratakv.rescue import RescueReport, rescue
from stratakv.soundness import Damage
from stratakv.stats import SegmentStats, Stats
from stratakv.verify import VerifyReport
from stratakv.writer import Transaction

__version__ = "0.1.0"

__all__ = [
    "DB",
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
    "MaintenanceReport",
    "NetworkFileSystemWarning",
    "OptionError",
    "Options",
    "ReadOnlyError",
    "RecoveryReport",
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
    "open",
    "recover",
    "rescue",
]


def open(path: str | os.PathLike[str], **options: Any) -> DB:
    """Open the store in the directory `path`, made where there is none, and return a handle on it.

    options: see `stratakv.options.Options`: durability ("always", "interval" or "os"), read_only, mode,
    max_value_bytes, segment_bytes, sync_interval (seconds), max_bytes (the budget), maintenance ("auto" or
    "manual") and create.

    Raises OptionError for an unknown or a wrong option, DirectoryError for a directory that is no store,
    is someone else's or of a newer format, ReadOnlyError where it cannot be written, CorruptionError
    where the manifest is damaged.
    """
    return DB(path, Options.parse(options))
