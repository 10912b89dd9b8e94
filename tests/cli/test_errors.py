"""What goes wrong is one line on standard error and an exit status; nothing changes on disk."""

import subprocess
import sys
from pathlib import Path

import pytest

FULL = b"stratakv: standard output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "new", "key"],
        ["delete", "new", "key"],
        ["scan", "new"],
        ["stats", "new"],
        ["verify", "new"],
        ["compact", "new"],
        ["maintain", "new"],
        ["maintain", "new", "--watch"],
        ["backup", "new", "copy"],
        ["recover", "new"],
    ],
    ids=" ".join,
)
def test_only_put_and_serve_make_a_store(refused, tmp_path, arguments):
    assert "new" in refused(*arguments)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["put", "new"], "'KEY'"),
        (["put", "", "key", "value"], "'DIR': is empty"),
        (["backup", "new", ""], "'TARGET': is empty"),
        (["put", "new", ""], "1 to 65,535 bytes"),
        (["put", "new", "k" * 65_536, "value"], "65,536"),
        (["put", "new", "--hex", "xyz", "value"], "hexadecimal"),
        (["get", "new", "--hex", "xyz"], "hexadecimal"),
        (["get", "new", ""], "1 to 65,535 bytes"),
        (["delete", "new", "--hex", "xyz"], "hexadecimal"),
        (["scan", "new", "--hex", "--prefix", "xyz"], "hexadecimal"),
        (["put", "new", "key", "value", "--ttl", "-1"], "--ttl"),
        (["put", "new", "key", "value", "--ttl", "nan"], "--ttl"),
        (["put", "new", "key", "value", "--ttl", "soon"], "--ttl"),
        (["put", "new", "key", "value", "--tll", "1"], "--ttl"),
        (["scan", "new", "--limit", "0"], "--limit"),
        (["scan", "new", "--limit", "9" * 30], "--limit"),
        (["scan", "new", "--format", "xml"], "json"),
        (["recover", "new", "--mode", "hope"], "salvage"),
        (["gte", "new"], "gte"),
    ],
)
def test_wrong_usage_changes_nothing(refused, tmp_path, arguments, expected):
    assert expected in refused(*arguments)
    assert not any(tmp_path.iterdir())


def test_a_time_that_is_too_long_is_to_be_left_out(refused, store):
    line = refused("put", store, "key", "value", "--ttl", "inf")
    assert "what has none stays for ever" in line


@pytest.mark.parametrize("place", ["link", "link/store"])
@pytest.mark.parametrize("words", [["put", "key", "value"], ["get", "key"]], ids=lambda words: words[0])
def test_a_link_to_nothing_is_named(refused, tmp_path, words, place):
    (tmp_path / "link").symlink_to("nowhere")
    line = refused(words[0], place, *words[1:])
    assert f"{tmp_path / 'link'} is a symbolic link to what does not exist" in line
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_no_command_shows_the_help(stratakv):
    done = stratakv()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"verify" in done.stderr


def test_a_directory_of_other_things_is_left_alone(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    assert "photos" in refused("put", "photos", "key", "value")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_file_is_no_store(refused, tmp_path):
    (tmp_path / "file").touch()
    assert "file" in refused("put", "file", "key", "value")


@pytest.mark.parametrize(
    "words", [["get", "apple"], ["scan"], ["stats"], ["compact"]], ids=lambda words: words[0]
)
def test_output_that_cannot_be_written_is_an_error(stratakv, store, words):
    with Path("/dev/full").open("wb") as full:
        done = stratakv(words[0], store, *words[1:], stdout=full)
    assert (done.returncode, done.stderr) == (2, FULL)


def test_a_large_value_that_cannot_be_written_is_an_error(stratakv, store):
    stratakv("put", store, "large", stdin=bytes(100_000))  # more than is buffered
    with Path("/dev/full").open("wb") as full:
        done = stratakv("get", store, "large", stdout=full)
    assert (done.returncode, done.stderr) == (2, FULL)


@pytest.mark.parametrize("words", [["-h"], ["get", "-h"]], ids=" ".join)
def test_help_has_a_short_name(stratakv, words):
    done = stratakv(*words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage: " in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["get", "--help"]], ids=" ".join)
def test_help_that_cannot_be_written_is_an_error(stratakv, command, words):
    with Path("/dev/full").open("wb") as full:
        done = stratakv(*words, stdout=full)
    assert (done.returncode, done.stderr) == (2, FULL)
    nobody_reads = ["bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "bash", *command, *words]
    done = subprocess.run(nobody_reads, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["get", "apple"], ["scan"], ["stats"]], ids=lambda words: words[0])
def test_a_closed_standard_output_is_an_error(command, store, words):
    closed = ["bash", "-c", 'exec "$@" >&-', "bash", *command, words[0], store, *words[1:]]
    done = subprocess.run(closed, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"stratakv: standard output is closed\n")


def test_a_closed_standard_input_is_an_error(command, store):
    closed = ["bash", "-c", 'exec "$@" <&-', "bash", *command, "put", store, "key"]
    done = subprocess.run(closed, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"stratakv: standard input is closed\n")


@pytest.mark.parametrize("words", [["get", "new", "key"], ["gte"]], ids=lambda words: words[0])
def test_an_error_never_goes_to_standard_output(command, tmp_path, words):
    closed = ["bash", "-c", 'exec "$@" 2>&-', "bash", *command, *words]
    done = subprocess.run(closed, cwd=tmp_path, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_interrupt_without_a_standard_output(monkeypatch):
    """There is nothing then that could hold up the end."""
    pytest.importorskip("click", reason="needs the package click (extra stratakv[cli])")
    from stratakv.cli import streams

    monkeypatch.setattr(sys, "stdout", None)
    streams.abandon_stdout()


def test_a_warning_of_the_engine_is_one_line(capsys):
    pytest.importorskip("click", reason="needs the package click (extra stratakv[cli])")
    from stratakv.cli import app

    app._show_warning(UserWarning("the store is on nfs"), UserWarning, "file.py", 1)
    assert capsys.readouterr().err == "stratakv: warning: the store is on nfs\n"


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("click", ["stats", "new"], "cli"),
        ("rich", ["stats", "new"], "cli"),
        ("uvicorn", ["serve", "new"], "server"),
    ],
)
def test_a_missing_package_is_named(tmp_path, module, arguments, extra):
    hide = f"import runpy, sys; sys.modules[{module!r}] = None"
    words = [sys.executable, "-c", f"{hide}; runpy.run_module('stratakv', run_name='__main__')", *arguments]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{module} not installed; run: pip install 'stratakv[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())
