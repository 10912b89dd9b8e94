"""maintain: once, with a report, and until it is stopped, beside a process that writes."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

import stratakv as engine
from tests.support.waiting import wait_until

BUDGET = 2**20
SMALL = {"segment_bytes": 2**16, "durability": "os", "maintenance": "manual"}


def fill(db, size, start=0):
    """Write values of 1,000 bytes, `size` bytes in all, under keys that nobody wrote before."""
    for number in range(start, start + size // 1000):
        db.put(b"%08d" % number, b"x" * 1000)


def figures(directory):
    with engine.open(directory, read_only=True) as db:
        return db.stats()


def kinds(directory):
    return [segment.kind for segment in figures(directory).segments]


@pytest.fixture
def many(tmp_path):
    """A store with many segments and nobody who looked after them."""
    with engine.open(tmp_path / "store", **SMALL) as db:
        fill(db, 2_000_000)
    return tmp_path / "store"


@pytest.fixture
def watch(command):
    """Start a watch over a store; return its process when it is at work."""
    running = []

    def start(directory, *options):
        words = [*command, "maintain", os.fspath(directory), "--watch", *options]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.append(process)
        assert process.stderr.readline().decode() == f"stratakv: watching {directory}\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def stop(process, number=signal.SIGTERM):
    """Send a signal; return the exit status and the lines written to standard error."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert output.startswith(b"finished ") == (process.returncode == 0), "the report"
    return process.returncode, errors.decode().splitlines()


def unnamed(directory):
    """The logs and indexes that lie in the directory and are no segment."""
    files = {path.name for path in directory.iterdir() if path.suffix in (".log", ".idx")}
    numbers = {segment.number for segment in figures(directory).segments}  # opening tidies up, so afterwards
    return files - {f"{number:06d}.{suffix}" for number in numbers for suffix in ("log", "idx")}


def test_once_it_does_what_is_due_and_reports(stratakv, many):
    done = stratakv("maintain", many, "--format", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    report = json.loads(done.stdout)
    assert report["finished"] > 20
    assert report["merged"] == 1
    assert kinds(many) == ["active", "main"]
    assert set(json.loads(stratakv("maintain", many, "--format", "json").stdout).values()) == {0}


def test_a_budget_is_kept_from_now_on_until_it_is_lifted(stratakv, many):
    assert figures(many).disk_bytes > BUDGET
    assert stratakv("maintain", many, "--max-bytes", str(BUDGET)).returncode == 0
    assert (figures(many).max_bytes, figures(many).disk_bytes <= BUDGET) == (BUDGET, True)
    assert stratakv("maintain", many).returncode == 0
    assert figures(many).max_bytes == BUDGET
    assert stratakv("maintain", many, "--max-bytes", "0").returncode == 0
    assert figures(many).max_bytes == 0


@pytest.mark.parametrize("size", ["5", "-1", "1G", "1.5e9"])
def test_a_budget_that_is_none_is_refused(refused, many, size):
    assert "max" in refused("maintain", many, "--max-bytes", size)
    assert figures(many).max_bytes == 0


def test_a_terminal_sees_each_task_and_a_pipe_none(command, many):
    terminal, side = pty.openpty()
    done = subprocess.run([*command, "maintain", many], stdout=subprocess.PIPE, stderr=side, check=True)
    os.close(side)
    assert b"finish: segment 1 done" in os.read(terminal, 65536)
    os.close(terminal)
    assert done.stdout.startswith(b"finished ")


def test_a_watch_merges_what_another_process_writes(watch, many):
    process = watch(many)
    wait_until(lambda: kinds(many) == ["active", "main"])
    with engine.open(many, **SMALL) as db:
        fill(db, 1_000_000, start=5000)
        wait_until(lambda: kinds(many).count("young") < 8)
        assert len(list(db.keys())) == 3000
    status, lines = stop(process)
    assert status == 0
    assert any(line.startswith("stratakv: merge: segments ") for line in lines)


def test_a_watch_evicts_what_is_beyond_the_budget(watch, many):
    process = watch(many, "--max-bytes", str(BUDGET))
    wait_until(lambda: figures(many).disk_bytes <= BUDGET)
    with engine.open(many, **SMALL) as db:
        for part in range(5):
            fill(db, BUDGET, start=10_000 * (part + 1))
            assert db.stats().disk_bytes <= BUDGET * 1.1  # at any time, however busy the watch is
            wait_until(lambda: db.stats().disk_bytes <= BUDGET)
        assert db.stats().evicted_keys >= 4000
        assert db.get(b"%08d" % (50_000 + BUDGET // 1000 - 1)) == b"x" * 1000
    status, lines = stop(process)
    assert status == 0
    evicted = [line for line in lines if line.startswith(("stratakv: retire: ", "stratakv: evict: "))]
    assert any(line.endswith(" done") for line in evicted)


def test_a_watch_that_is_stopped_in_a_merge_leaves_nothing_half_done(watch, tmp_path):
    store = tmp_path / "store"
    with engine.open(store, **{**SMALL, "segment_bytes": 2**22}) as db:
        fill(db, 60_000_000)
    process = watch(store)
    wait_until(lambda: unnamed(store))  # what the merge is writing just now
    status, lines = stop(process)
    assert status == 0
    assert not any("merge" in line or "Traceback" in line for line in lines)
    assert not list(store.glob("*.tmp"))
    assert not unnamed(store)
    with engine.open(store, read_only=True) as db:
        assert db.verify().ok
        assert len(list(db.keys())) == 60_000


def test_ctrl_c_ends_a_watch_as_sigterm_does(watch, store):
    status, lines = stop(watch(store), signal.SIGINT)
    assert (status, lines) == (0, [])


def test_a_command_that_is_over_soon_starts_no_maintenance(command, many):
    words = [*command, "delete", many, "00000001"]
    with engine.open(many, **SMALL) as db, subprocess.Popen(words) as process:
        with db.transaction():  # keeps the command for longer than a process would wait with starting another
            time.sleep(1.2)
            assert not keepers(many)
            assert process.poll() is None
        assert process.wait(30) == 0
        assert db.get(b"00000001") is None


def keepers(directory):
    """The maintenance processes of the store."""
    return [line for line in command_lines() if b"stratakv.keep" in line and os.fsencode(directory) in line]


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:  # it has ended
            continue
