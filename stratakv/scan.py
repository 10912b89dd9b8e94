"""Reading in key order, from one moment's view, while others write."""

from __future__ import annotations

from collections.abc import Iterator

from stratakv import versions
from stratakv.files import now_ms
from stratakv.reader import check_bounds
from stratakv.record import Record
from stratakv.segment import Segment
from stratakv.structure import Structure


def scan(
    structure: Structure, prefix: bytes, start: bytes | None, stop: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the live keys of this moment with their values, in key order.

    The view's maps stay for as long as the scan does, whatever is compacted or deleted meanwhile. The
    active log is read up to where it reached at the start: what is written later is not seen.
    """
    check_bounds(prefix=prefix, start=start, stop=stop)
    view, end = structure.now()
    first = max(prefix, start or b"")
    sources = [(view.active, _young(view.active, end, first))]
    sources += [(segment, segment.in_order(first)) for segment in view.sealed]
    return _within(versions.live(sources, view.hides, now_ms()), prefix, stop)


def _young(active: Segment, end: int, first: bytes) -> Iterator[Record]:
    latest = active.latest(end)
    return (active.sound(latest[key]) for key in sorted(latest) if key >= first)


def _within(
    found: Iterator[tuple[Segment, Record]], prefix: bytes, stop: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    for segment, record in found:
        if not record.key.startswith(prefix) or (stop is not None and record.key >= stop):
            return
        yield record.key, segment.value(record)
