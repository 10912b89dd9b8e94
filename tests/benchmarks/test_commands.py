"""Each command runs, compares what it says it compares, and prints what programs and people can read."""

import json

import pytest

SMALL = ("--keys", "40", "--value-bytes", "10", "--rounds", "4")
OPERATIONS = {"put", "get", "miss", "delete"}


def report_of(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("command", "peers"),
    [
        ("engine", ["StrataKV", "LMDB", "LMDB writemap", "diskcache", "diskcache fast"]),
        ("django", ["StrataKVCache", "LocMemCache", "DjangoCache"]),
    ],
)
def test_every_peer_does_every_operation(benchmarks, command, peers):
    report = report_of(benchmarks(command, *SMALL, "--format", "json"))
    assert report["parameters"] == {"keys": 40, "key_bytes": 64, "value_bytes": 10, "rounds": 4}
    assert list(report["settings"]) == peers
    assert report["reference"] == peers[0]
    timed = {(timing["operation"], timing["peer"]) for timing in report["timings"]}
    assert timed == {(operation, peer) for operation in OPERATIONS for peer in peers}
    assert all(timing["microseconds"]["median"] > 0 for timing in report["timings"])


def test_a_store_is_opened_before_and_after_compaction(benchmarks):
    report = report_of(benchmarks("open", "--keys", "100", "--rounds", "2", "--format", "json"))
    assert [opening["state"] for opening in report["openings"]] == ["after the puts", "compacted"]
    # A compaction leaves what it merged, and an empty segment to go on in.
    assert [opening["segments"] for opening in report["openings"]] == [1, 2]
    assert all(opening["open_ms"]["median"] > 0 for opening in report["openings"])


def test_people_get_a_table(benchmarks):
    done = benchmarks("engine", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "engine: 40 keys" in done.stdout
    assert "sync=False" in done.stdout


def test_more_rounds_than_keys_are_refused(benchmarks):
    done = benchmarks("engine", "--keys", "3", "--rounds", "4")
    assert done.returncode == 2
    assert "4 rounds need at least as many keys" in done.stderr
