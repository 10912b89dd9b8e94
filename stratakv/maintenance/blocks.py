"""Records on their way through a merge: read in blocks in key order, sorted together, newest first.

A block is a list of items of one log, a few thousand at a time. To merge, the blocks at hand are cut at the
lowest of their last keys and sorted in one call, which finds the runs that are in order already: that is
half the time of a heap that is asked for each record.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from xxhash import xxh3_64_intdigest

from stratakv import index, key_order
from stratakv.errors import CorruptionError
from stratakv.record import HEADER_BYTES, PREFIX_BYTES, TOMBSTONE_EXPIRY, unpack_fields
from stratakv.segment import Segment

# Key; body, which is the record from byte 12 on; its offset in its log; checksum, expiry, heat. A tombstone,
# and whatever is to be treated as one, has the expiry of one. A NamedTuple would cost a merge a tenth.
Item = tuple[bytes, bytes | memoryview, int, int, int, int]
Block = list[Item]

_BLOCK_BYTES = 2**19  # of log: bounds the memory that a merge takes
_SHORT_BYTES = 2**8  # on average: up to here the map is faster than a call for each record
_MAPPED_BYTES = 2**25  # of log: all of it may count as our memory while a block is read
_COPIED_BYTES = 2**16  # longer records stay in the map until they are written, for the same reason
_key = itemgetter(0)


def hiding(item: Item) -> Item:
    """Return what a merge makes a tombstone of, where an older record of the item's key must be hidden."""
    return (*item[:4], TOMBSTONE_EXPIRY, 0)


def placeholder(key: bytes) -> Item:
    """Return the same for a key whose record is lost."""
    return key, b"", 0, 0, TOMBSTONE_EXPIRY, 0


def warmed(item: Item, heat: int) -> Item:
    return (*item[:5], heat)


def heat_in(segment: Segment, item: Item) -> int:
    """Return how often the key of an item was read in its segment, up to `HOTTEST`."""
    return index.heat_of(segment.arrays, item[0], item[2])


def in_key_order(segment: Segment) -> Iterator[Block]:
    """Yield the last record of each key of a sealed segment, in key order."""
    with segment.walked():
        if segment.header.ordered:
            yield from _walk(segment)
            return
        order = key_order.order(segment)
        short = segment.end <= min(_MAPPED_BYTES, _SHORT_BYTES * len(order))
        yield from _follow_mapped(segment, order) if short else _follow(segment, order)


def _walk(segment: Segment) -> Iterator[Block]:
    """Read a log that is in key order from its start to its END record, which has no key."""
    log, view, limit = segment.log, segment.view, segment.end - HEADER_BYTES
    offset = segment.start
    while offset < limit:
        block: Block = []
        begun, stop = offset, min(limit, offset + _BLOCK_BYTES)
        while offset < stop:
            checksum, value_bytes, key_bytes, expiry = unpack_fields(view, offset)
            start = offset + HEADER_BYTES
            end = start + key_bytes + value_bytes
            if end > limit:
                raise _damaged(segment, offset)
            source = log if end - offset <= _COPIED_BYTES else view
            body = source[offset + PREFIX_BYTES : end]
            if xxh3_64_intdigest(body) != checksum:
                raise _damaged(segment, offset)
            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))
            offset = end
        yield block
        segment.files.forget(log, begun, offset)
    if offset != limit:
        raise CorruptionError(segment.path, offset, "the log does not end as a whole one does")


def _follow_mapped(segment: Segment, order: array[int] | memoryview) -> Iterator[Block]:
    """Read a log of short records, which is in the order of arrival, in key order.

    A page that is brought in has many of them, so few are brought in for nothing.
    """
    log, view, limit = segment.log, segment.view, segment.end
    place = 0
    while place < len(order):
        block: Block = []
        taken = 0
        while taken < _BLOCK_BYTES and place < len(order):
            offset = order[place]
            if offset + HEADER_BYTES > limit:
                raise _beyond(segment, offset)
            checksum, value_bytes, key_bytes, expiry = unpack_fields(view, offset)
            start = offset + HEADER_BYTES
            end = start + key_bytes + value_bytes
            if end > limit:
                raise _damaged(segment, offset)
            source = log if end - offset <= _COPIED_BYTES else view
            body = source[offset + PREFIX_BYTES : end]
            if xxh3_64_intdigest(body) != checksum:
                raise _damaged(segment, offset)
            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))
            taken += len(body)
            place += 1
        segment.files.forget(log, 0, limit)
        yield block


def _follow(segment: Segment, order: array[int] | memoryview) -> Iterator[Block]:
    """Read a log that is in the order of arrival, in key order.

    With `pread`: through the map, each record brings in 16 pages for the few that it needs. A merge of 1 GiB
    of records of 8 KiB takes 1.25 times as long so, and a third of the log counts as its memory.
    """
    pread, fd, view, limit = segment.files.pread, segment.fd, segment.view, segment.end
    place, size = 0, HEADER_BYTES
    while place < len(order):
        block: Block = []
        taken = 0
        while taken < _BLOCK_BYTES and place < len(order):
            offset = order[place]
            # It will be as long as the one before, or we ask again.
            data = pread(fd, size, offset) if offset < limit else b""
            if len(data) < HEADER_BYTES:
                raise _beyond(segment, offset)
            checksum, value_bytes, key_bytes, expiry = unpack_fields(data)
            start = HEADER_BYTES + key_bytes
            size, read = start + value_bytes, len(data)
            if offset + size > limit:
                raise _damaged(segment, offset)
            body: bytes | memoryview
            if size > _COPIED_BYTES:
                body = view[offset + PREFIX_BYTES : offset + size]
                key, size = bytes(body[HEADER_BYTES - PREFIX_BYTES : start - PREFIX_BYTES]), HEADER_BYTES
            else:
                if size > read:
                    data += pread(fd, size - read, offset + read)
                key, body = data[HEADER_BYTES:start], data[PREFIX_BYTES:size]
            if xxh3_64_intdigest(body) != checksum:
                raise _damaged(segment, offset)
            block.append((key, body, offset, checksum, expiry, 0))
            taken += len(body)
            place += 1
        yield block


def _beyond(segment: Segment, offset: int) -> CorruptionError:
    return CorruptionError(segment.path, offset, "the index leads beyond the end of the log")


def _damaged(segment: Segment, offset: int) -> CorruptionError:
    return CorruptionError(segment.path, offset, "the record's checksum does not hold")


def without(blocks: Iterable[Block], prefixes: tuple[bytes, ...]) -> Iterator[Block]:
    """Turn what younger range tombstones delete into tombstones."""
    for block in blocks:
        yield [hiding(item) if item[0].startswith(prefixes) else item for item in block]


def merged(sources: Sequence[Iterator[Block]]) -> Iterator[Block]:
    """Merge sources, newest first, into blocks in key order; of equal keys the newest comes first."""
    # A source that leaves records out may yield empty blocks, which are not its end.
    full = [filter(None, source) for source in sources]
    heads = [next(source, []) for source in full]
    while bounds := [head[-1][0] for head in heads if head]:
        bound = min(bounds)
        block: Block = []
        for number, head in enumerate(heads):
            if not head:
                continue
            if head[-1][0] == bound:
                block += head
                heads[number] = next(full[number], [])
            else:
                cut = bisect_right(head, bound, key=_key)
                block += head[:cut]
                heads[number] = head[cut:]
        block.sort(key=_key)
        yield block


def range_prefixes(segments: Iterable[Segment]) -> tuple[bytes, ...]:
    """Return the prefixes of all range tombstones of `segments`, without those that another one covers."""
    found: list[bytes] = []
    for prefix in sorted(prefix for segment in segments for prefix in segment.ranges):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return tuple(found)
