"""Errors on their way: from a worker process, or kept and raised again."""

from __future__ import annotations

import copy
import errno
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from stratakv import CorruptionError, DiskFullError, KeyNotFoundError, StrataKVError, SyncError
from stratakv.errors import storage_error

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
