"""Each command that watches the store look after itself runs, and its figures are such as can be."""

import gzip
import lzma
import struct

import pytest


@pytest.fixture
def traces(tmp_path):
    """A folder with tiny traces under the names of the real ones."""
    folder = tmp_path / "traces"
    folder.mkdir()
    keys = [1, 2, 1, 3, 1, 2, 4, 5]
    for name in ("multi1", "multi2", "sprite", "2_pools"):
        (folder / f"{name}.trace.gz").write_bytes(gzip.compress("\n".join(map(str, keys)).encode()))
    (folder / "web07.trace.xz").write_bytes(lzma.compress(struct.pack(">8I", *keys)))
    return folder


def test_traces_are_replayed_at_three_sizes(measured, traces):
    report = measured("hitratio", "--traces", str(traces))
    assert [result["objects"] for result in report["results"][:3]] == [500, 1000, 2000]
    assert len(report["results"]) == 15
    for result in report["results"]:
        assert result["store"] == 3 / 8
        assert result["peak"] == 5
        assert result["policies"] == {"FIFO": 3 / 8, "LRU": 3 / 8, "S3-FIFO": 3 / 8}
    assert report["means"].keys() == {"half", "medium", "twice", "all"}
    assert report["least"] == {"FIFO": 0, "LRU": 0, "S3-FIFO": 0}


def test_missing_traces_are_asked_for_by_the_name_of_the_option(benchmarks, tmp_path):
    done = benchmarks("hitratio", "--traces", str(tmp_path))
    assert done.returncode == 2
    assert "sprite.trace.gz" in done.stderr
    assert "--traces" in done.stderr


def test_a_budget_is_watched_with_maintenance_and_without(measured):
    report = measured("budget", "--max-bytes", "300000", "--seconds", "2")
    assert [kept["maintenance"] for kept in report["kept"]] == ["auto", "manual"]
    for kept in report["kept"]:
        assert kept["looks"] > 1
        assert 0 < kept["median_percent"] <= kept["most_percent"]
        assert kept["puts_per_second"] > 0
        assert kept["evicted_keys"] > 0


def test_gets_and_puts_are_timed_beside_a_merge(measured):
    report = measured("latency", "--keys", "60000", "--value-bytes", "100", "--rounds", "2")
    timed = [(latency["operation"], latency["percentile"]) for latency in report["latencies"]]
    assert timed == [(operation, name) for operation in ("get", "put") for name in ("p50", "p99", "p99.9")]
    for latency in report["latencies"]:
        assert latency["samples"] > 0
        assert latency["alone"]["median"] > 0
        assert latency["merging"]["median"] > 0


def test_small_and_large_records_are_merged(measured):
    report = measured("merge", "--small-records", "3000", "--large-records", "200", "--rounds", "2")
    assert [merging["records"] for merging in report["mergings"]] == [3000, 200]
    for merging in report["mergings"]:
        assert merging["segments"] == 8, "seven, and the active one"
        assert merging["records_per_second"]["median"] > 0
        assert merging["disk_mb_per_second"]["median"] > 0


def test_the_first_workload_leaves_what_is_alive(measured):
    report = measured("seed", "--keys", "200", "--rounds", "2")
    before, after = report["states"]
    assert after["segments"] == 2  # what was merged, and an empty one to go on in
    assert after["disk_bytes"] < before["disk_bytes"]
    # What is dead is counted neither alive nor on the disk.
    assert 0 < report["live_bytes"] < 200 * (64 + 8192)
    assert 1 < after["disk_ratio"] < before["disk_ratio"]
    assert before["write_amplification"] > 1
    for state in (before, after):
        assert 0 < state["hit"]["p50"] <= state["hit"]["worst"]
    compaction = report["compaction"]
    assert compaction["gets"] > 0
    assert compaction["interrupted"] <= compaction["slow"] <= compaction["gets"]
    assert list(report["reopening"]) == ["closed", "killed, log half full", "killed, log full"]
    assert 0 < report["own_bytes"] < report["resident_bytes"]


def test_a_get_and_a_put_are_taken_apart(measured):
    steps = measured("steps", "--keys", "300", "--rounds", "2")["steps"]
    for operation in ("get", "put"):
        names = [step["step"] for step in steps if step["operation"] == operation]
        assert {"hash", "checksum", "slot"} <= set(names)
        assert names[-3:] == ["all these calls", "Python between them", "the whole"]
    assert all(step["share"] == 1 for step in steps if step["step"] == "the whole")


@pytest.mark.parametrize(
    "command",
    [
        "merge --small-records 500 --large-records 50 --rounds 2",
        "seed --keys 100 --log-bytes 2000000 --rounds 2",
    ],
)
def test_people_get_tables(benchmarks, command):
    done = benchmarks(*command.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(command.split()[0] + ": ")
    assert "µs" in done.stdout or "records/s" in done.stdout
