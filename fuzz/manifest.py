"""MANIFEST: what is read is written again, and every edit of it can be computed and stored."""

from __future__ import annotations

from contextlib import suppress

from fuzz import mending
from stratakv import manifest
from stratakv.maintenance import plan
from stratakv.maintenance.task import Limits
from stratakv.manifest import Edit


def run(data: bytes) -> None:
    file = mending.manifest(data[1:]) if data[:1] == b"m" else data[1:]
    with suppress(ValueError):
        found = manifest.decode(file)
        assert manifest.decode(manifest.encode(found)) == found
        edit = Edit(drop={found.active}, synced=dict.fromkeys(found.numbers(), 100))
        following = manifest.apply(found, edit, found.next_number)
        assert [entry.number for entry in following.segments] == [entry.number for entry in found.segments]
        plan.pick(found.segments, (), (), Limits(found.max_bytes, 2**20, 10**5, 4096, 4096, 10**12))
        plan.due(found.segments, 10**12)
