"""What a budget in bytes means for the segments: arithmetic alone."""

from __future__ import annotations

# A store is in so many segments when its budget is used up: eviction goes by segments.
SEGMENTS = 32
YOUNG_PERCENT = 25  # of it is for the sealed segments of the young generation
# No value or batch may take more than this part of the budget.
LARGEST_SHARE = 4
# A segment that takes more of it was made before the store had it. One that is made with it takes less: the
# largest share, or up to that of what was read, and what was moved before into the segment that it joins.
_OVERSIZED_32NDS = 10
_SPLIT_EIGHTHS = 7  # of it is what a store takes after a split; the rest is for what is written meanwhile
DISK_BLOCK = 4096  # bytes: what a file takes of the disk is a multiple of it
_LOST_FOUND_SHARE = 8  # one part in so many of a budget
_LOST_FOUND_BYTES = 2**30  # where there is no budget
_SLACK = 4 * DISK_BLOCK  # for the files that grow a little: manifest, ghosts
# Bytes. Of a smaller budget, a tenth is less than what maintenance must write to keep what is read: of the
# trace `sprite` in 1.2 MB, 0.02 less would be there (`python -m benchmarks hitratio`).
_SMALL = 2**22


def hard_limit(max_bytes: int, segment_bytes: int) -> int:
    """Return how many bytes a store with this budget may take when a segment of so many bytes begins.

    Maintenance brings the store below the budget again after a segment has begun. Where it cannot keep up,
    the writer that begins the next one keeps this limit. What is left up to a tenth above the budget is for
    what maintenance is writing.
    """
    return max_bytes + segment_bytes + _SLACK


def ceiling(max_bytes: int) -> int:
    """Return how many bytes a store with this budget may take at any moment, maintenance at work included."""
    return max_bytes + (max_bytes // 10 - _SLACK if max_bytes >= _SMALL else max_bytes)


def is_oversized(size: int, max_bytes: int) -> bool:
    """Whether a log of so many bytes was made before the store had this budget.

    What such segments take comes on top of the two limits above, until maintenance has split them: evicted
    whole, one of them would take much of the store with it, and its parts must be there beside it.
    """
    return size * SEGMENTS > _OVERSIZED_32NDS * max_bytes


def left_by_split(max_bytes: int, others: int, living: int) -> int | None:
    """Return how many bytes may be left of a segment that is split, None for all that lives in it.

    others: what all the rest of the store takes. living: what all that lives in the segment would take.
    """
    return None if others + living <= max_bytes else max(0, max_bytes * _SPLIT_EIGHTHS // 8 - others)


def part_bytes(max_bytes: int) -> int:
    """Return the size at which a part of a split segment is full; not 0, whatever budget a manifest names."""
    return -(-max_bytes // SEGMENTS)


def parts_of(living: int, max_bytes: int) -> int:
    """Return how many parts so many bytes of log may be split into, and one more."""
    return living // part_bytes(max_bytes) + 2


def ranks_of_parts(newest: int, above: int, parts: int) -> range:
    """Return the ranks of so many parts, highest first; fewer where there are not so many.

    newest: the highest rank of the segment that is split. above: the lowest one of the next newer segment.
    They begin in the middle, as the upper half is for what evictions put before the main segments. Where that
    leaves too few, they begin at the top: the one above is a part then, of a split that was broken off, and
    has as many below it as were wanted for the rest.
    """
    free = above - newest - 1
    first = newest + (free // 2 if free // 2 >= parts else free)
    return range(first, newest, -1)[:parts]


def lost_found_limit(max_bytes: int) -> int:
    """Return how large lost+found may become by what is put there without anybody asking, 0 for no budget."""
    return max_bytes // _LOST_FOUND_SHARE or _LOST_FOUND_BYTES


def on_disk(size: int) -> int:
    """Return the bytes of disk that a file of this size takes."""
    return -(-size // DISK_BLOCK) * DISK_BLOCK


def segment_capacity(segment_bytes: int, max_bytes: int) -> int:
    """Return the size at which a log is sealed in a store with this option and this budget, 0 for none."""
    if not max_bytes:
        return segment_bytes
    return min(segment_bytes, max(DISK_BLOCK, max_bytes // SEGMENTS // DISK_BLOCK * DISK_BLOCK))
