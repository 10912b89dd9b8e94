"""`python -m benchmarks.killed DIR FIRST PUTS VALUE_BYTES LOG_BYTES WHERE`: put, and be killed.

WHERE is "between" commits, or "inside" one: its record is in the log, and the tip does not cover it yet.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import stratakv
from benchmarks.numbered import key_of, value_of
from stratakv.files import Files


class _Pwrite:
    """The kernel's call, and once it is `armed` the end of the process right after it."""

    def __init__(self) -> None:
        self._pwrite = Files.pwrite
        self.armed = False

    def __call__(self, fd: int, data: Any, offset: int) -> int:
        done = self._pwrite(fd, data, offset)
        if self.armed:
            _die()
        return done


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(path: str, first: int, puts: int, value_bytes: int, log_bytes: int, where: str) -> None:
    """Put the keys numbered from `first` on, and end by SIGKILL."""
    Files.pwrite = pwrite = _Pwrite()  # type: ignore[assignment]
    db = stratakv.open(path, durability="os", maintenance="manual", segment_bytes=log_bytes)
    for number in range(first, first + puts):
        key = key_of(number)
        db.put(key, value_of(key, value_bytes))
    if where == "inside":
        pwrite.armed = True
        db.put_many({key_of(first): b""})  # the way of batches writes by the call, not through a map
    _die()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
