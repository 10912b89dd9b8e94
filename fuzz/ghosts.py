"""GHOSTS: a table of any size and content is one, or none; keys are remembered and recalled in it."""

from __future__ import annotations

import struct

from fuzz import places
from stratakv.directory import GHOSTS_NAME
from stratakv.opening import map_ghosts

_directory = places.directory()


def run(data: bytes) -> None:
    how, file = data[:1], data[1:]
    if how == b"m":
        file = struct.pack("<8sQQ", b"STRATAGH", 1, max(0, len(file) - 64) // 8) + file[24:]
        file = file[: len(file) // 8 * 8]
    (_directory.path / GHOSTS_NAME).write_bytes(file)
    found = map_ghosts(_directory)
    assert found is not None or how != b"m" or len(file) < 72
    if found is not None:
        for first in (0, 1, 2**64 - 1, 2**63, *struct.unpack_from(f"<{len(file) // 8}Q", file)):
            found.recall(first)
            found.set_memory(2**31)
            found.add(first)
            assert found.recall(first) or first < 2**32  # number and fingerprint 0 look like no entry
            assert not found.recall(first)
