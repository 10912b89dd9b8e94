"""Each command about syncs, growth and the end of writers runs, and its figures are such as can be."""


def test_a_put_on_disk_is_compared_with_bare_loops_and_with_company(measured):
    report = measured("sync", "--puts", "5", "--rounds", "2", "--seconds", "0.1")
    assert [timing["peer"] for timing in report["timings"]] == [
        "StrataKV",
        "bare, the file grows",
        "bare, its blocks are there",
    ]
    assert all(timing["microseconds"]["median"] > 0 for timing in report["timings"])
    one, threads, processes = report["company"]
    assert (one["name"], threads["name"], processes["name"]) == ("one", "16 threads", "8 processes")
    assert one["ratio"]["median"] == 1
    assert one["puts_per_sync"]["median"] == 1, "there is nobody to share with"
    assert threads["puts_per_sync"]["median"] > 1
    assert report["machine"]["file system"]


def test_stores_grow_and_are_measured_by_turns(measured):
    report = measured("scale", "--most-keys", "2000", "--rounds", "2")
    assert [size["keys"] for size in report["sizes"]] == [2, 20, 200, 2000]
    assert report["reference"] == 20
    for size in report["sizes"]:
        assert all(size[name]["median"] > 0 for name in ("put", "get", "miss", "open_ms", "first_get_ms"))
        assert size["segments"] == 1
    assert report["sizes"][1]["get_ratio"]["median"] == 1
    assert report["sizes"][0]["index_bytes_per_key"] == 1000 * report["sizes"][3]["index_bytes_per_key"]


def test_stores_come_back_from_each_state(measured):
    report = measured("recovery", "--most-keys", "20", "--log-bytes", "10000", "--rounds", "2")
    cases = {each["case"]: each for each in report["recovered"]}
    assert len(cases) == len(report["recovered"]) == 10
    assert cases["killed, log full"]["active_keys"] == 51, "one more would begin another log"
    assert cases["killed, log half full"]["active_keys"] == 25
    for each in cases.values():
        assert each["keys"] == 20
        assert each["segments"] == 2
        assert each["ms"]["median"] > 0


def test_people_get_a_table(benchmarks):
    done = benchmarks("scale", "--most-keys", "2000", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scale: ")
