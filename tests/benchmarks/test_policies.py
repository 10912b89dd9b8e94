"""The policies that a store is compared with, beside models that are too simple to be wrong."""

import gzip
import lzma
import random
import struct

import pytest

from benchmarks import traces
from benchmarks.policies import POLICIES, fifo, lru, s3_fifo
from benchmarks.replay import Replay, fit, replay


def random_traces():
    chance = random.Random(20)
    for _ in range(150):
        yield chance.randint(1, 30), [int(chance.expovariate(0.1)) for _ in range(300)]


def naive(trace, size, *, moves):
    """A list, oldest first; `moves`: whether a hit makes a key the newest."""
    cache, hits = [], 0
    for key in trace:
        if key in cache:
            hits += 1
            if moves:
                cache.remove(key)
                cache.append(key)
        else:
            cache = [*cache, key][-size:]
    return hits / len(trace)


def naive_s3_fifo(trace, size):
    """Algorithm 1 of the paper, word for word, on lists whose head is at their end."""
    small, main, ghost, freq = [], [], [], {}
    small_size = max(1, size // 10)
    main_size = max(1, size - small_size)

    def evict():
        if len(small) >= small_size or not main:
            evict_small()
        else:
            evict_main()

    def evict_small():
        evicted = False
        while not evicted and small:
            tail = small.pop(0)
            if freq[tail] > 1:
                if len(main) >= main_size:
                    evict_main()
                main.append(tail)
                freq[tail] = 0
            else:
                ghost.append(tail)
                del ghost[:-main_size]
                evicted = True

    def evict_main():
        evicted = False
        while not evicted and main:
            tail = main.pop(0)
            if freq[tail] > 0:
                main.append(tail)
                freq[tail] -= 1
            else:
                evicted = True

    hits = 0
    for key in trace:
        if key in small or key in main:
            hits += 1
            freq[key] = min(freq[key] + 1, 3)
            continue
        while len(small) + len(main) >= size:
            evict()
        if key in ghost:
            ghost.remove(key)
            main.append(key)
        else:
            small.append(key)
        freq[key] = 0
    return hits / len(trace)


def test_fifo_and_lru_are_what_lists_say():
    for size, trace in random_traces():
        assert fifo(trace, size) == naive(trace, size, moves=False)
        assert lru(trace, size) == naive(trace, size, moves=True)


def test_s3_fifo_is_the_papers():
    for size, trace in random_traces():
        assert s3_fifo(trace, size) == naive_s3_fifo(trace, size)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_fits_misses_only_once(policy):
    assert policy([1, 2, 3] * 10, 3) == 27 / 30


def test_one_scan_costs_lru_its_hot_keys_and_s3_fifo_none():
    trace = [*[1, 2] * 10, *range(100, 200), 1, 2]
    assert s3_fifo(trace, 20) > lru(trace, 20)


def test_both_formats_of_traces_are_read(tmp_path):
    text, words = tmp_path / "a.trace.gz", tmp_path / "b.trace.xz"
    text.write_bytes(gzip.compress(b"17\n*\n3\n\n17\n"))
    words.write_bytes(lzma.compress(struct.pack(">3I", 17, 3, 2**32 - 1)))
    assert list(traces.load(text)) == [17, 3, 17]
    assert list(traces.load(words)) == [17, 3, 2**32 - 1]


def test_a_store_with_room_misses_each_key_once_and_holds_them_all(tmp_path):
    found = replay([b"1", b"2", b"1", b"3", b"2"], tmp_path, 2**20)
    assert found == Replay(max_bytes=2**20, hit_ratio=2 / 5, peak=3)


def test_a_replay_evicts_and_comes_out_the_same_each_time(tmp_path):
    chance = random.Random(3)
    requests = [b"%d" % int(chance.expovariate(0.005)) for _ in range(350)]
    first, second = (replay(requests, tmp_path, 2**18) for _ in range(2))
    assert first == second
    assert 50 < first.peak < 250
    assert 0 < first.hit_ratio < naive(requests, 10**6, moves=False)


def test_the_budget_that_fits_is_found():
    # As of a store that takes 40 KB for itself and 1,300 bytes for an object, and later holds a bit more.
    def attempt(max_bytes, puts):
        return Replay(max_bytes, 0.5, int((max_bytes - 40_000) / 1300 * (1 if puts else 1.02)))

    found = fit(attempt, 1000)
    assert 970 <= found.peak <= 1000
