"""How figures are made: ratios within rounds, quartiles, and answers that are checked."""

from itertools import permutations

import pytest

from benchmarks.peers import BlindCalls, Calls
from benchmarks.rounds import Round, WrongAnswerError, race, warm
from benchmarks.spread import Spread, compare
from benchmarks.workload import random_bytes


def dict_peer(name, done):
    """A dict as a peer; it notes in `done` that it was asked something."""
    stored = {}

    def put(key, value):
        done.append(name)
        stored[key] = value

    return Calls(put, stored.get, lambda key: stored.pop(key, None) is not None, close=id)


def test_ratios_are_taken_within_rounds():
    # A round in which the machine was ten times slower for everybody changes no ratio.
    ours, theirs = compare("put", {"ours": [1, 10, 2], "theirs": [2, 20, 8]}, "ours")
    assert ours.ratio == Spread(1, 1, 1)
    assert theirs.ratio == Spread(median=0.5, lower=0.375, upper=0.5)
    assert theirs.microseconds.median == 8
    assert theirs.overall_ratio == 13 / 30


def test_every_round_has_every_peer_in_an_order_of_its_own():
    done = []
    peers = {name: dict_peer(name, done) for name in "abc"}
    race(peers, dict.fromkeys(peers, [Round("put", [(b"key", b"value")], None)] * 200))
    rounds = [tuple(done[at : at + 3]) for at in range(0, len(done), 3)]
    assert len(rounds) == 200
    assert set(rounds) == set(permutations("abc"))


def test_only_reads_are_done_before_they_are_timed():
    calls = []
    peer = dict_peer("dict", calls)
    for operation, rounds in random_bytes(keys=10, value_bytes=5, rounds=2).operations().items():
        warm("dict", peer, rounds)
        assert len(calls) == (0 if operation == "put" else 10), "puts, and no others are noted"
        race({"dict": peer}, {"dict": rounds})  # a delete that was done before would find nothing


def test_a_workload_puts_reads_and_deletes_each_key_once():
    calls = []
    peer = dict_peer("dict", calls)
    workload = random_bytes(keys=10, value_bytes=5, rounds=3)
    for rounds in workload.operations().values():
        assert sum(len(each.work) for each in rounds) == 10
        # This raises where a value is not what was put, or a key is not there to delete.
        race({"dict": peer}, {"dict": rounds})
    assert len(calls) == 10
    assert peer.get([key for key, _ in workload.items]) is None


def test_a_peer_that_does_not_do_its_work_is_found_out():
    lazy = Calls(lambda key, value: None, lambda key: None, lambda key: True, close=id)
    operations = random_bytes(keys=4, value_bytes=5, rounds=2).operations()
    race({"lazy": lazy}, {"lazy": operations["put"]})
    with pytest.raises(WrongAnswerError, match="lazy"):
        race({"lazy": lazy}, {"lazy": operations["get"]})


def test_a_delete_that_tells_nothing_is_looked_after():
    stored = {b"key": b"value"}
    assert BlindCalls(stored.__setitem__, stored.get, stored.pop, close=id).delete([b"key"]) is True
    assert BlindCalls(stored.__setitem__, lambda key: b"value", id, close=id).delete([b"key"]) is False


def test_a_slow_peer_is_given_fewer_keys_and_as_many_rounds():
    calls = []
    workload = random_bytes(keys=100, value_bytes=5, rounds=4)
    work = {"fast": workload.operations(), "slow": workload.thinned(10).operations()}
    peers = {name: dict_peer(name, calls) for name in work}
    for operation in work["fast"]:
        times = race(peers, {name: work[name][operation] for name in peers})
        assert [len(found) for found in times.values()] == [4, 4]
    assert (calls.count("fast"), calls.count("slow")) == (100, 10)
    assert len(workload.thinned(1000).items) == 4, "one a round"


def test_many_keys_at_a_time_are_put_and_read():
    pytest.importorskip("django", reason="the package Django")
    from benchmarks.django_cache import CONTEST

    operations = CONTEST.work(500, 5, 2).operations()
    (put, *_), (get, *_) = operations["set_many of 100"], operations["get_many of 100"]
    assert [len(batch) for batch in put.work] == [100, 100]
    assert get.work[-1] == list(put.work[-1])
    assert get.answer == put.work[-1]
