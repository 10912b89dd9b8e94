"""get, put, delete and scan, as a shell sees them."""

import base64
import json
import signal
import subprocess
import time

import pytest

import stratakv as engine

EVERY_BYTE = bytes(range(256)) * 40


def test_what_is_put_is_got(stratakv, store):
    assert stratakv("put", store, "key", "värde").returncode == 0
    got = stratakv("get", store, "key")
    assert (got.returncode, got.stdout, got.stderr) == (0, "värde".encode(), b"")


def test_put_makes_the_store(stratakv, tmp_path):
    assert stratakv("put", "new", "key", "value").returncode == 0
    with engine.open(tmp_path / "new", create=False) as db:
        assert db.get(b"key") == b"value"


@pytest.mark.parametrize("dash", [["-"], []], ids=["with a dash", "without VALUE"])
def test_a_value_from_standard_input_is_kept_byte_for_byte(stratakv, dash):
    assert stratakv("put", "new", "key", *dash, stdin=EVERY_BYTE).returncode == 0
    assert stratakv("get", "new", "key").stdout == EVERY_BYTE


def test_a_value_may_be_empty(stratakv, store):
    stratakv("put", store, "empty", "")
    got = stratakv("get", store, "empty")
    assert (got.returncode, got.stdout) == (0, b"")


def test_a_value_may_begin_with_a_dash(stratakv, store):
    assert stratakv("put", store, "--", "negative", "-5").returncode == 0
    assert stratakv("get", store, "negative").stdout == b"-5"


def test_a_binary_key_is_written_in_hexadecimal(stratakv, store):
    assert stratakv("get", store, "--hex", "ff00").stdout == b"\x80\n"
    assert stratakv("put", store, "--hex", "00ff", "new").returncode == 0
    assert stratakv("delete", store, "--hex", "ff00").returncode == 0
    with engine.open(store) as db:
        assert (db.get(b"\x00\xff"), db.get(b"\xff\x00")) == (b"new", None)


def test_a_time_to_live_ends(stratakv, store):
    stratakv("put", store, "long", "value", "--ttl", "600")
    stratakv("put", store, "short", "value", "--ttl", "0.05")
    time.sleep(0.05)
    assert stratakv("get", store, "long").returncode == 0
    assert stratakv("get", store, "short").returncode == 1


@pytest.mark.parametrize("name", ["get", "delete"])
def test_a_missing_key_is_status_1_and_no_output(stratakv, store, name):
    done = stratakv(name, store, "no such key")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"stratakv: no such key\n")


def test_a_deleted_key_is_gone(stratakv, store):
    assert stratakv("delete", store, "apple").returncode == 0
    assert stratakv("get", store, "apple").returncode == 1


def test_reading_works_while_another_process_writes(stratakv, store):
    with engine.open(store) as db:
        db.put(b"apple", b"changed")
        assert stratakv("get", store, "apple").stdout == b"changed"
        assert b"apple\tchanged\n" in stratakv("scan", store).stdout


def test_scan_is_in_key_order(stratakv, store):
    assert (
        stratakv("scan", store).stdout
        == b"apple\t1\nbanana\t2\nbean\t3\ncherry\t4\n\\0377\\0000\t\\0200\\n\n"
    )


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--prefix", "b"], ["banana", "bean"]),
        (["--start", "banana", "--stop", "cherry"], ["banana", "bean"]),
        (["--limit", "1"], ["apple"]),
        (["--hex", "--prefix", "ff"], ["ff00"]),
        (["--prefix", "none"], []),
    ],
)
def test_scan_chooses(stratakv, store, options, keys):
    assert stratakv("scan", store, "--keys-only", *options).stdout.decode().split() == keys


@pytest.mark.parametrize(
    "value", [b"plain", "zwölf\u2003\u202e".encode(), b"a\\n\t\r\n\x1b[31m\x00", EVERY_BYTE]
)
def test_a_line_of_scan_reads_back_with_printf(stratakv, store, value):
    with engine.open(store) as db:
        db.put(b"line", value)
    line = stratakv("scan", store, "--prefix", "line").stdout.decode()
    shown = line.removesuffix("\n").removeprefix("line\t")
    assert shown.isprintable()
    for shell in ("bash", "sh"):
        read_back = subprocess.run(
            [shell, "-c", 'printf %b "$1"', shell, shown], capture_output=True, check=True
        )
        assert read_back.stdout == value


def test_scan_writes_json_lines(stratakv, store):
    lines = [json.loads(line) for line in stratakv("scan", store, "--format", "json").stdout.splitlines()]
    assert lines[0] == {"key": "apple", "value": "1"}
    assert {name: base64.b64decode(text) for name, text in lines[-1].items()} == {
        "key_base64": b"\xff\x00",
        "value_base64": b"\x80\n",
    }
    in_hex = stratakv("scan", store, "--format", "json", "--hex", "--keys-only", "--limit", "1").stdout
    assert json.loads(in_hex) == {"key_hex": b"apple".hex()}


@pytest.fixture
def big_store(store):
    """More than fits into a pipe."""
    with engine.open(store) as db:
        db.put_many({b"%06d" % number: b"x" * 1000 for number in range(2000)})
    return store


@pytest.fixture
def scanning(command, big_store):
    """A scan that has written its first line and waits for its reader."""
    words = [*command, "scan", big_store]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"000000\t")
        yield process


def test_a_reader_that_has_enough_ends_a_scan_quietly(scanning):
    scanning.stdout.close()
    assert scanning.stderr.read() == b""
    assert scanning.wait(30) == 0


def test_ctrl_c_ends_a_scan_with_status_130(scanning):
    scanning.send_signal(signal.SIGINT)
    assert scanning.wait(30) == 130
    assert scanning.stderr.read().split(b"\n") == [b"", b"stratakv: interrupted", b""]


def test_ctrl_c_while_reading_a_value_stores_nothing(command, store):
    words = [*command, "put", store, "half"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"x" * 2**20)  # returns when most of it was read, so the command is at work
        time.sleep(0.1)  # by now it waits for more
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    with engine.open(store) as db:
        assert b"half" not in db
