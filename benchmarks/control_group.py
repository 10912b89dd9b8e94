"""A control group whose processes have little memory; the kernel's cache of what they read counts as theirs.

Both versions of control groups will do. Making one takes root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

_ROOT = Path("/sys/fs/cgroup")
_PAUSE = 0.1  # seconds


class NoControlGroupError(Exception):
    """No control group can be made here."""


@contextmanager
def limited(memory_bytes: int) -> Iterator[Path]:
    """Make a group that has so much memory, and yield the file that a process writes its number to, to join.

    Raises NoControlGroupError. Ends when nobody is in it any more.
    """
    try:
        group, limit = _make()
    except OSError as cause:
        raise NoControlGroupError(f"it takes root, and control groups with memory: {cause}") from cause
    try:
        (group / limit).write_text(str(memory_bytes))
        yield group / "cgroup.procs"
    finally:
        while (group / "cgroup.procs").read_text():  # what a process has started ends a moment after it
            sleep(_PAUSE)
        group.rmdir()


def _make() -> tuple[Path, str]:
    """Return a new group, and the name of the file in it that has the limit."""
    name = f"stratakv-benchmark-{os.getpid()}"
    if (_ROOT / "memory").is_dir():
        parent, limit = _ROOT / "memory", "memory.limit_in_bytes"
    else:
        parent, limit = _ROOT, "memory.max"
        (parent / "cgroup.subtree_control").write_text("+memory")
    (parent / name).mkdir()
    return parent / name, limit
