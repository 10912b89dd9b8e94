"""Many records that are not in memory are read from the disk together, and not one after the other.

Only where the kernel was told not to read ahead: elsewhere most of them come with others. Whether they are in
memory cannot be asked, so the first lookup that takes as long as the disk does tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from stratakv.arguments import check_key
from stratakv.index import hash_key
from stratakv.view import View

_DISK_SECONDS = 50e-6  # a fast disk takes 70 µs, a lookup in memory 3


def together(view: View, keys: Sequence[bytes]) -> Iterator[bytes]:
    """Yield `keys`, to be looked up in `view` one by one.

    Once one was slow, the disk is asked for the records of all that follow before they are yielded.
    """
    begun = perf_counter()
    for place, key in enumerate(keys, 1):
        yield key
        ended = perf_counter()
        if ended - begun > _DISK_SECONDS:
            rest = keys[place:]
            for each in rest:
                _bring_in(view, each)
            yield from rest
            return
        begun = ended


def _bring_in(view: View, key: bytes) -> None:
    check_key(key)
    first, second = hash_key(key)
    for segment in view.segments():
        if segment.may_have(first, second) and segment.bring_in(first):
            return
