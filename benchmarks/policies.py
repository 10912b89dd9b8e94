"""Policies of caches, exact for each object, that a store's hit ratio is compared with.

Every object has size one, and every miss stores the object. `size` is the number of objects that fit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

Policy = Callable[[Sequence[int], int], float]

_MOST_READS = 3  # that S3-FIFO counts of an object
_PROMOTING_READS = 2  # that take an object to the main queue; the paper's `freq > 1`
_SMALL_PERCENT = 10


def fifo(trace: Sequence[int], size: int) -> float:
    """Return the hit ratio of first in, first out: the textbook queue, which a hit does not reorder."""
    resident: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in resident:
            hits += 1
        else:
            if len(resident) >= size:
                resident.popitem(last=False)
            resident[key] = None
    return hits / len(trace)


def lru(trace: Sequence[int], size: int) -> float:
    """Return the hit ratio of least recently used (Mattson et al., IBM Systems Journal 9(2), 1970)."""
    resident: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in resident:
            hits += 1
            resident.move_to_end(key)
        else:
            if len(resident) >= size:
                resident.popitem(last=False)
            resident[key] = None
    return hits / len(trace)


def s3_fifo(trace: Sequence[int], size: int) -> float:
    """Return the hit ratio of S3-FIFO as published.

    Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023, algorithm 1.
    """
    cache = _S3Fifo(size)
    hits = sum(map(cache.request, trace))
    return hits / len(trace)


class _S3Fifo:
    """A small queue takes new objects, a main queue those that proved themselves.

    A ghost queue remembers as many evicted keys as the main queue holds objects.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._small_size = max(1, size * _SMALL_PERCENT // 100)
        self._main_size = max(1, size - self._small_size)
        self._reads: dict[int, int] = {}  # of each object in one of the queues
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._ghosts: OrderedDict[int, None] = OrderedDict()

    def request(self, key: int) -> bool:
        """Read `key`, which stores it on a miss; return whether it was there."""
        reads = self._reads.get(key)
        if reads is not None:
            self._reads[key] = min(reads + 1, _MOST_READS)
            return True
        while len(self._reads) >= self._size:
            if len(self._small) >= self._small_size or not self._main:
                self._evict_from_small()
            else:
                self._evict_from_main()
        if key in self._ghosts:
            del self._ghosts[key]
            self._main.append(key)
        else:
            self._small.append(key)
        self._reads[key] = 0
        return False

    def _evict_from_small(self) -> None:
        while self._small:
            key = self._small.popleft()
            if self._reads[key] >= _PROMOTING_READS:
                if len(self._main) >= self._main_size:
                    self._evict_from_main()
                self._reads[key] = 0
                self._main.append(key)
            else:
                del self._reads[key]
                self._ghosts[key] = None
                if len(self._ghosts) > self._main_size:
                    self._ghosts.popitem(last=False)
                return

    def _evict_from_main(self) -> None:
        while self._main:
            key = self._main.popleft()
            if self._reads[key]:
                self._reads[key] -= 1
                self._main.append(key)
            else:
                del self._reads[key]
                return


POLICIES: dict[str, Policy] = {"FIFO": fifo, "LRU": lru, "S3-FIFO": s3_fifo}
