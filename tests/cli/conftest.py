"""The command line as users have it: real processes, `python -m stratakv`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stratakv as engine


@pytest.fixture(autouse=True)
def _buffered_output(monkeypatch):
    """Commands buffer their output, as they do for users, so that it must be flushed in order."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def command():
    """The words that start the command line."""
    return [sys.executable, "-m", "stratakv"]


@pytest.fixture
def stratakv(command, tmp_path):
    """Run one command to its end."""

    def run(*arguments, stdin=b"", **options):
        words = [*command, *map(os.fspath, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
        return subprocess.run(words, input=stdin, cwd=tmp_path, check=False, **options)

    return run


@pytest.fixture
def store(tmp_path) -> Path:
    """A store with five records."""
    directory = tmp_path / "store"
    with engine.open(directory) as db:
        db.put_many({b"apple": b"1", b"banana": b"2", b"bean": b"3", b"cherry": b"4", b"\xff\x00": b"\x80\n"})
    return directory


@pytest.fixture
def refused(stratakv):
    """Run one command that must fail with status 2 and one clear line, which is returned."""

    def run(*arguments, **options) -> str:
        done = stratakv(*arguments, **options)
        line = done.stderr.decode()
        assert done.returncode == 2
        assert line.startswith("stratakv")
        assert line.count("\n") == 1
        assert not done.stdout
        return line

    return run
