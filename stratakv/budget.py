"""What a budget in bytes means for the segments: arithmetic alone."""

from __future__ import annotations

# A store is in so many segments when its budget is used up: eviction goes by segments.
SEGMENTS = 32
YOUNG_PERCENT = 20  # of it is for the sealed segments of the young generation
# No value or batch may take more than this part of the budget.
LARGEST_SHARE = 4
# Maintenance keeps the budget once a segment has begun. Where it does not come after, the writer that begins
# the next one drops the oldest beyond this share; the rest up to a tenth is for what maintenance is writing.
_HARD_PERCENT = 104
_LEAST_BYTES = 4096


def hard_limit(max_bytes: int, segment_bytes: int) -> int:
    """Return how many bytes a store with this budget may take when a segment of so many bytes begins."""
    return max(max_bytes * _HARD_PERCENT // 100, max_bytes + segment_bytes)


def segment_capacity(segment_bytes: int, max_bytes: int) -> int:
    """Return the size at which a log is sealed in a store with this option and this budget, 0 for none."""
    return min(segment_bytes, max(_LEAST_BYTES, max_bytes // SEGMENTS)) if max_bytes else segment_bytes
