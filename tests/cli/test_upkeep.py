"""stats, verify, compact, backup and recover, as a script and as a terminal see them."""

import contextlib
import dataclasses
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys

import pytest

import stratakv as engine
from stratakv.cli.report import _binary_size, _duration, show

CONTENT = {b"apple": b"1", b"banana": b"2", b"bean": b"3", b"cherry": b"4", b"\xff\x00": b"\x80\n"}


def content(directory):
    with engine.open(directory, read_only=True) as db:
        return dict(db.scan())


@pytest.mark.parametrize("name", ["stats", "verify", "compact", "maintain", "recover"])
def test_a_report_is_text_or_json(stratakv, store, name):
    as_json = stratakv(name, store, "--format", "json")
    assert as_json.returncode == 0
    report = json.loads(as_json.stdout)
    as_text = stratakv(name, store)
    assert as_text.returncode == 0
    labels = [line.split("  ")[0] for line in as_text.stdout.decode().splitlines() if line[0] != " "]
    assert labels == [field.replace("_", " ") for field in report]


def test_a_store_of_more_segments_than_the_shell_allows_files(stratakv, tmp_path, few_files):
    with engine.open(tmp_path / "store", segment_bytes=4096, maintenance="manual", durability="os") as db:
        for number in range(500):
            db.put(b"%d" % number, bytes(400))
    with few_files():
        assert stratakv("compact", tmp_path / "store").returncode == 0
    assert len(content(tmp_path / "store")) == 500


@pytest.fixture
def few_files():
    @contextlib.contextmanager
    def limit():
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    return limit


def test_a_path_that_is_not_utf8_is_reported_as_it_is(stratakv, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as in most locales
    path = os.fsencode(tmp_path) + b"/st\xffre"
    engine.open(os.fsdecode(path)).close()
    assert path + b"\n" in stratakv("stats", path).stdout
    assert json.loads(stratakv("stats", path, "--format", "json").stdout)["path"] == os.fsdecode(path)


def test_text_has_units_and_tables(stratakv, store):
    lines = stratakv("stats", store).stdout.decode().splitlines()
    (size,) = [line for line in lines if line.startswith("disk bytes")]
    assert re.fullmatch(r"disk bytes +[\d,]+ \([\d.]+ [KM]iB\)", size)
    columns, row = (line.split() for line in lines[lines.index("segments") + 1 :])
    assert columns[:3] == ["number", "kind", "keys"]
    assert row[:3] == ["1", "active", "5"]


def test_text_says_what_sizes_and_ages_are(capsys):
    aged = engine.SegmentStats(7, "main", 1, 2**21, 2**12, 2**20, 2**20, age=5 * 3600 + 12 * 60 + 9)
    figures = {field.name: 0 for field in dataclasses.fields(engine.Stats)}
    show(engine.Stats(**{**figures, "max_bytes": 2**30, "age": aged.age, "segments": (aged,)}), "text")
    lines = capsys.readouterr().out.splitlines()
    assert "max bytes            1,073,741,824 (1.0 GiB)" in lines
    assert "age                  18,729 s (5 h 12 min)" in lines
    assert lines[-1].split("  ")[-1] == "5 h 12 min"
    show(engine.Stats(**{**figures, "age": 3.2, "write_amplification": 12_918.4, "segments": ()}), "text")
    lines = capsys.readouterr().out.splitlines()
    assert "max bytes            no limit" in lines
    assert "age                  3 s" in lines
    assert "write amplification  12,918" in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.9, "1 h 0 min"),
        (12 * 86400 + 7 * 3600, "12 d 7 h"),
    ],
)
def test_a_duration_is_in_its_two_largest_units(seconds, text):
    assert _duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1023, ""),
        (1024, " (1.0 KiB)"),
        (2**20 - 52, " (1023.9 KiB)"),
        (2**20 - 51, " (1.0 MiB)"),
        (2**20 - 1, " (1.0 MiB)"),
        (2**40, " (1.0 TiB)"),
    ],
)
def test_a_size_is_in_the_largest_unit_that_it_fills(size, text):
    assert _binary_size(size) == text


def test_what_a_compaction_says_has_units(stratakv, store):
    with engine.open(store) as db:
        db.put(b"large", bytes(2**20))
    lines = stratakv("compact", store).stdout.decode().splitlines()
    sizes = [line for line in lines if line.startswith("bytes ")]
    assert [line.split("(")[1] for line in sizes] == ["1.0 MiB)", "1.0 MiB)"]


def test_compact_keeps_what_is_there(stratakv, store):
    stratakv("put", store, "apple", "newer")
    assert stratakv("compact", store).returncode == 0
    assert content(store) == {**CONTENT, b"apple": b"newer"}


def test_backup_is_a_store_of_its_own(stratakv, store, tmp_path):
    assert stratakv("backup", store, "copy").returncode == 0
    stratakv("put", store, "apple", "newer")
    assert content(tmp_path / "copy") == CONTENT


def test_backup_overwrites_nothing(refused, store, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter").touch()
    assert "copy" in refused("backup", store, "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["letter"]


TERMINATED_IN_A_COPY = """
import os, signal, sys
from stratakv.__main__ import main
from stratakv.files import Files

def copy_and_be_terminated(*arguments, copy=Files.copy):
    copy(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)

Files.copy = copy_and_be_terminated
main()
"""


def test_a_backup_that_is_terminated_leaves_nothing(stratakv, store, tmp_path):
    words = [sys.executable, "-c", TERMINATED_IN_A_COPY, "backup", store, tmp_path / "copy"]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert stratakv("backup", store, "copy").returncode == 0


def test_a_termination_that_is_ignored_goes_on_being_ignored(store, tmp_path):
    words = [sys.executable, "-c", TERMINATED_IN_A_COPY, "backup", store, tmp_path / "copy"]
    ignoring = ["bash", "-c", "trap '' TERM; exec \"$@\"", "bash", *words]
    assert subprocess.run(ignoring, stdout=subprocess.PIPE, timeout=60, check=False).returncode == 0
    assert content(tmp_path / "copy") == CONTENT


def test_verify_finds_a_flipped_bit(stratakv, store):
    (log,) = store.glob("*.log")
    flip_last_byte_of(log, b"banana2")
    as_text = stratakv("verify", store)
    assert as_text.returncode == 1
    assert log.name.encode() in as_text.stdout
    assert b"verify --repair" in as_text.stdout
    as_json = stratakv("verify", store, "--format", "json")
    assert as_json.returncode == 1
    report = json.loads(as_json.stdout)
    assert not report["ok"]
    assert report["damage"][0]["path"].endswith(log.name)


def test_a_reader_that_has_gone_does_not_change_the_status(command, store):
    (log,) = store.glob("*.log")
    flip_last_byte_of(log, b"banana2")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, "verify", store], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_verify_repairs_what_it_finds(stratakv, store):
    (log,) = store.glob("*.log")
    flip_last_byte_of(log, b"banana2")
    mended = stratakv("verify", store, "--repair", "--format", "json")
    assert mended.returncode == 0
    report = json.loads(mended.stdout)
    assert report["repaired"][0]["path"].endswith(log.name)
    assert report["lost_records"] == 0
    assert stratakv("verify", store).returncode == 0
    assert stratakv("get", store, "banana").stdout == b"2"


def test_a_repair_that_lost_a_record_says_so(stratakv, store):
    (log,) = store.glob("*.log")
    data = log.read_bytes()
    log.write_bytes(data.replace(b"banana2", b"banana\xff"))
    mended = stratakv("verify", store, "--repair", "--format", "json")
    assert (mended.returncode, json.loads(mended.stdout)["lost_records"]) == (1, 1)
    assert stratakv("verify", store).returncode == 0


def flip_last_byte_of(path, record):
    data = bytearray(path.read_bytes())
    data[data.index(record) + len(record) - 1] ^= 1
    path.write_bytes(data)


def test_recover_rebuilds_what_is_derived(stratakv, store):
    for path in [store / "CONTROL", *store.glob("*.idx")]:
        path.unlink()
    assert stratakv("recover", store).returncode == 0
    assert content(store) == CONTENT


def test_recover_rebuilds_a_lost_manifest_and_calls_it_damage(stratakv, store):
    for path in store.glob("MANIFEST*"):
        path.unlink()
    recovered = stratakv("recover", store)
    assert (recovered.returncode, recovered.stderr) == (1, b"")
    assert b"MANIFEST" in recovered.stdout
    assert content(store) == CONTENT


def test_recover_salvages_what_is_around_damage(stratakv, store):
    stratakv("compact", store)
    (log,) = [log for log in store.glob("*.log") if b"banana2" in log.read_bytes()]
    flip_last_byte_of(log, b"banana2")
    recovered = stratakv("recover", store, "--mode", "salvage")
    assert recovered.returncode == 1
    assert log.name.encode() in recovered.stdout
    assert content(store) == {key: value for key, value in CONTENT.items() if key != b"banana"}


def test_recover_says_where_what_it_took_out_is(stratakv, store):
    (store / "FORMAT").write_text("junk")
    recovered = stratakv("recover", store)
    assert recovered.returncode == 1
    lines = recovered.stdout.decode().splitlines()
    (folder,) = [line.split()[-1] for line in lines if line.startswith("lost found")]
    assert any(line.split()[:3] == ["FORMAT", "0", "rebuilt"] and folder in line for line in lines)
    assert (store / folder / "FORMAT").read_text() == "junk"
    assert any(line.split()[0] == "000001.log" for line in lines if line.startswith("  "))


def test_recover_refuses_a_store_in_use(refused, store):
    with engine.open(store):
        assert str(store) in refused("recover", store)


def on_terminal(words, ready=b"", then=None):
    """Run `words` with a terminal as standard error; do `then` when `ready` appears there."""
    terminal, side = pty.openpty()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=side) as process:
        os.close(side)
        seen = b""
        while block := read_terminal(terminal):
            seen += block
            if then and ready in seen:
                then(process)
                then = None
        process.stdout.read()
    os.close(terminal)
    return process.returncode, re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode()


def read_terminal(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that nobody has the other side open any more
        return b""


@pytest.mark.parametrize("name", ["verify", "compact"])
def test_a_bar_is_drawn_on_a_terminal_only(command, stratakv, store, name):
    assert stratakv(name, store).stderr == b""
    status, seen = on_terminal([*command, name, store])
    assert status == 0
    assert name in seen


def test_ctrl_c_ends_a_compaction_and_loses_nothing(command, stratakv, store):
    with engine.open(store, segment_bytes=2**22, maintenance="manual") as db:
        for start in range(0, 60_000, 1000):
            db.put_many({b"%06d" % number: b"x" * 1000 for number in range(start, start + 1000)})
    before = content(store)
    words = [*command, "compact", store]
    status, seen = on_terminal(words, b"compact", lambda process: process.send_signal(signal.SIGINT))
    assert status == 130
    assert seen.endswith("stratakv: interrupted\r\n")
    assert stratakv("verify", store).returncode == 0
    assert content(store) == before
