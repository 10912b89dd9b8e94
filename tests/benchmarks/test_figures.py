"""How figures are made: ratios within rounds, quartiles, and answers that are checked."""

from itertools import permutations

import pytest

pytest.importorskip("lmdb", reason="the benchmarks need the package lmdb")
pytest.importorskip("diskcache", reason="the benchmarks need the package diskcache")

from benchmarks.peers import CallPeer
from benchmarks.rounds import Round, WrongAnswerError, race
from benchmarks.spread import Spread, compare
from benchmarks.workload import random_bytes


def dict_peer(name, done):
    """A dict as a peer; it notes in `done` that it was asked something."""
    stored = {}

    def put(key, value):
        done.append(name)
        stored[key] = value

    return CallPeer(
        name, "", put=put, get=stored.get, delete=lambda key: stored.pop(key, None) is not None, close=id
    )


def test_ratios_are_taken_within_rounds():
    # A round in which the machine was ten times slower for everybody changes no ratio.
    ours, theirs = compare("put", {"ours": [1, 10, 2], "theirs": [2, 20, 6]}, "ours")
    assert ours.ratio == Spread(1, 1, 1)
    assert theirs.ratio == Spread(median=2, lower=2, upper=2.5)
    assert theirs.microseconds.median == 6
    assert theirs.overall_ratio == 28 / 13


def test_every_round_has_every_peer_in_an_order_of_its_own():
    done = []
    peers = [dict_peer(name, done) for name in "abc"]
    race(peers, [Round(lambda peer: peer.put([(b"key", b"value")]), 1, None)] * 200)
    rounds = [tuple(done[at : at + 3]) for at in range(0, len(done), 3)]
    assert len(rounds) == 200
    assert set(rounds) == set(permutations("abc"))


def test_a_workload_puts_reads_and_deletes_each_key_once():
    calls = []
    peer = dict_peer("dict", calls)
    workload = random_bytes(keys=10, value_bytes=5, rounds=3)
    for rounds in workload.operations().values():
        assert sum(each.operations for each in rounds) == 10
        race([peer], rounds)  # raises where a value is not what was put, or a key is not there to delete
    assert len(calls) == 10
    assert peer.get([key for key, _ in workload.items]) is None


def test_a_peer_that_does_not_do_its_work_is_found_out():
    lazy = CallPeer(
        "lazy", "", put=lambda key, value: None, get=lambda key: None, delete=lambda key: True, close=id
    )
    operations = random_bytes(keys=4, value_bytes=5, rounds=2).operations()
    race([lazy], operations["put"])
    with pytest.raises(WrongAnswerError, match="lazy"):
        race([lazy], operations["get"])
