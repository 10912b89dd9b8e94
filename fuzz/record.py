"""Records: decoding at any offset, walking a chain, searching for what is sound."""

from __future__ import annotations

import itertools

from fuzz import mending
from stratakv import record
from stratakv.record import COMMIT, Record


def run(data: bytes) -> None:
    log = mending.records(data[1:], 7) if data[:1] == b"m" else data[1:]
    view = memoryview(log)
    for offset in range(len(log)):
        found = record.decode(log, view, offset, len(log))  # type: ignore[arg-type]  # slices like a map
        if found:
            _check(found, log)
    chain = list(record.walk(log, view, 0, 7, len(log)))  # type: ignore[arg-type]
    assert [found.offset for found in chain] == [0, *(found.end for found in chain)][: len(chain)]
    sound = list(record.search(log, view, 0, len(log)))  # type: ignore[arg-type]
    assert all(one.end <= other.offset for one, other in itertools.pairwise(sound))
    if data[:1] == b"m":
        assert sum(found.end - found.offset for found in chain) == len(log)


def _check(found: Record, log: bytes) -> None:
    """A record that is called sound is written again as it is."""
    assert 0 <= found.offset < found.value_offset <= found.end <= len(log)
    value = log[found.value_offset : found.end]
    body = record.encode(found.kind | found.commit * COMMIT, found.key, value, found.expiry)
    flags = log[found.offset + 19]
    same = record.frame(body, found.checksum, found.link)
    assert flags or same == log[found.offset : found.end]
