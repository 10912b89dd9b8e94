"""Errors on their way: from a worker process, or kept and raised again; and what they advise."""

from __future__ import annotations

import copy
import errno
import gc
import mmap
import pickle
import resource
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import (
    CorruptionError,
    DiskFullError,
    KeyNotFoundError,
    StorageError,
    StrataKVError,
    SyncError,
)
from stratakv.errors import storage_error
from tests.support.children import run

ERRORS = [
    CorruptionError("store/000001.log", 7, "the record's checksum does not hold"),
    DiskFullError("store/000001.log", OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    SyncError("store/000001.log", OSError(errno.EIO, "Input/output error"), "look at the disk"),
    KeyNotFoundError(b"key"),
]
for each in ERRORS:
    each.add_note("a note")


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_says_the_same(error: StrataKVError, again: Callable[[StrataKVError], Any]) -> None:
    copied = again(error)
    assert (type(copied), str(copied), copied.__notes__) == (type(error), str(error), ["a note"])
    for fact in ("path", "offset", "reason", "errno"):
        assert getattr(copied, fact, None) == getattr(error, fact, None)


def test_a_refusal_that_is_passed_on_keeps_its_reason() -> None:
    refused = storage_error("store/000002.idx", OSError(errno.EMFILE, "Too many open files"))
    assert "000002.log: Too many open files" in str(storage_error("store/000002.log", refused))


def descriptors(more: int) -> int:
    """The limit below which so many numbers are free."""
    gc.collect()  # else what earlier tests have left may be closed meanwhile
    taken = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    free = (number for number in count() if number not in taken)
    return next(islice(free, more, None))


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


@pytest.mark.parametrize(
    ("limit", "room", "advice"),
    [
        (resource.RLIMIT_NOFILE, lambda: descriptors(3), "ulimit -n"),
        (resource.RLIMIT_AS, lambda: address_space() + 2**24, "ulimit -v"),
        (resource.RLIMIT_FSIZE, lambda: 2**20, "ulimit -f.* in Python .*segment_bytes"),
    ],
    ids=["open files", "address space", "size of a file"],
)
def test_a_limit_that_was_reached_is_named(
    tmp_path: Path, limit: int, room: Callable[[], int], advice: str
) -> None:
    def reach() -> None:
        resource.setrlimit(limit, (room(), resource.getrlimit(limit)[1]))
        with pytest.raises(StorageError, match=advice):
            stratakv.open(tmp_path / "store", maintenance="manual")

    assert run(reach) == [0]
