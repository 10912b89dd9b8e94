"""Reading in key order, from one moment's view, while others write.

A record that is damaged is left out, counted and logged, as a lookup would do: a scan that could not get past
it would be of no use, and there may be thousands of sound ones behind it. Its key cannot be known. So once a
segment is found to be damaged, whatever an older one has is looked up in it first: where a lookup of the key
ends at the damaged record, so does the scan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from stratakv import key_order, past_damage
from stratakv.arguments import check_bounds, check_prefix
from stratakv.errors import CorruptionError
from stratakv.files import now_ms
from stratakv.index import hash_key
from stratakv.lookup import lookup
from stratakv.past_damage import Damaged
from stratakv.record import PREFIX_BYTES, PUT, Record, checksum_of
from stratakv.segment import Segment
from stratakv.snapshots import Snapshots
from stratakv.view import View

# A segment, and the last record of each of its keys in key order.
Source = tuple[Segment, Iterable[Record]]


def scan(
    snapshots: Snapshots,
    prefix: bytes,
    start: bytes | None,
    stop: bytes | None,
    report_damage: Damaged,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the live keys of this moment with their values, in key order.

    The view's maps stay for as long as the scan does, whatever is compacted or deleted meanwhile. The
    active log is read up to where it reached at the start: what is written later is not seen.
    report_damage: told each damaged record, which is left out.
    """
    check_prefix(prefix)
    check_bounds(start=start, stop=stop)
    view, end = snapshots.take()
    first = max(prefix, start or b"")
    broken: set[Segment] = set()

    def damaged(segment: Segment, offset: int) -> None:
        broken.add(segment)
        report_damage(segment, offset)

    sources = [(view.active, _young(view.active, end, first, damaged))]
    sources += [(segment, key_order.in_order(segment, first, damaged)) for segment in view.sealed]
    found = _live(sources, view.hides, now_ms())
    return _within(_certain(found, view, broken), prefix, stop, damaged)


def _young(active: Segment, end: int, first: bytes, damaged: Damaged) -> Iterator[Record]:
    try:
        latest = active.latest(end)
    except CorruptionError:
        latest = past_damage.latest(active, end, damaged)
    return key_order.sound(active, [latest[key] for key in sorted(latest) if key >= first], damaged)


def _live(
    sources: Iterable[Source], hides: Callable[[Segment, bytes], bool], now: int
) -> Iterator[tuple[Segment, Record]]:
    """Merge `sources`, newest first, and yield the newest version of each key, where it is live.

    hides: whether a range tombstone has deleted a key in a segment. now: milliseconds since the epoch. What
    is deleted or has expired hides older versions and is not yielded itself.
    """
    last = b""
    for key, _, segment, found in heapq.merge(*(_ranked(age, *each) for age, each in enumerate(sources))):
        if key != last:
            last = key
            # Expiry: `is_live`, written out, as a scan takes a twentieth longer with it.
            if found.kind == PUT and (not found.expiry or found.expiry > now) and not hides(segment, key):
                yield segment, found


def _ranked(
    age: int, segment: Segment, records: Iterable[Record]
) -> Iterator[tuple[bytes, int, Segment, Record]]:
    """Yield the records so that they sort by key, and of equal keys the newest segment's first."""
    return ((found.key, age, segment, found) for found in records)


def _certain(
    found: Iterator[tuple[Segment, Record]], view: View, broken: set[Segment]
) -> Iterator[tuple[Segment, Record]]:
    """Leave out what a damaged record in a newer segment, or in the same one, may hide."""
    for segment, record in found:
        if not broken or _is_certain(view, broken, segment, record.key):
            yield segment, record


def _is_certain(view: View, broken: set[Segment], segment: Segment, key: bytes) -> bool:
    first, second = hash_key(key)
    for newer in view.segments():
        if newer in broken and newer.may_have(first, second):
            try:
                if lookup(newer, key, first) and newer is not segment:
                    return False
            except CorruptionError:
                return False
        if newer is segment:
            return True
    return True  # pragma: no cover: the segment is one of those of the view


def _within(
    found: Iterator[tuple[Segment, Record]], prefix: bytes, stop: bytes | None, damaged: Damaged
) -> Iterator[tuple[bytes, bytes]]:
    for segment, record in found:
        if not record.key.startswith(prefix) or (stop is not None and record.key >= stop):
            return
        # Once more: it was read when the one before it was asked for, which may be hours ago.
        if checksum_of(segment.view[record.offset + PREFIX_BYTES : record.end]) == record.checksum:
            yield record.key, segment.value(record)
        else:
            damaged(segment, record.offset)
