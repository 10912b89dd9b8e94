"""The server as users have it: real processes, asked with the real curl over real sockets."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import stratakv


@dataclass(frozen=True)
class Answer:
    """What curl got back."""

    status: int
    kind: str
    text: str


@dataclass(frozen=True)
class Asking:
    """A curl on its way."""

    process: subprocess.Popen

    def answered(self) -> bool:
        """Whether the answer is there already."""
        return self.process.poll() is not None

    def answer(self) -> Answer:
        """Wait for the answer."""
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors.decode()
        text, _, last = output.decode().rpartition("\n")
        status, _, kind = last.partition(" ")
        return Answer(int(status), kind.partition(";")[0], text)


@dataclass(frozen=True)
class Server:
    """A running server process."""

    process: subprocess.Popen
    url: str

    def curl(self, method, path, *options, body=None) -> Answer:
        """Ask and wait for the answer."""
        return self.start_curl(method, path, *options, body=body).answer()

    def start_curl(self, method, path, *options, body=None) -> Asking:
        """Ask without waiting; `body` is text, bytes or @file."""
        words = [
            "curl",
            "-sS",
            "--max-time",
            "30",
            "-X",
            method,
            "-w",
            "\n%{http_code} %{content_type}",
            *options,
        ]
        source = None
        if isinstance(body, str) and body.startswith("@"):
            words += ["--data-binary", body]
        elif body is not None:  # too long for a command line, perhaps
            words += ["--data-binary", "@-"]
            source = body if isinstance(body, bytes) else body.encode()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([*words, self.url + path], **pipes)
        process.stdin.write(source or b"")
        process.stdin.close()
        process.stdin = None
        return Asking(process)


@pytest.fixture
def store(tmp_path) -> Path:
    """The directory that the servers share, with one text and one binary value in it."""
    directory = tmp_path / "store"
    with stratakv.open(directory) as db:
        db.put_many({b"greeting": b"hello", b"binary": b"\xff"})
    return directory


@pytest.fixture
def start(store):
    """Start a server on the store; it is stopped at the end of the test."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl (Debian package curl)")
    running = []

    def run(*options, token=None) -> Server:
        words = [sys.executable, "-m", "stratakv", "serve", os.fspath(store), "--port", "0", *options]
        environment = {**os.environ, **({} if token is None else {"STRATAKV_TOKEN": token})}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        running.append(process)
        line = process.stdout.readline().decode()
        assert line, process.stderr.read().decode()
        return Server(process, line.split()[-1])

    yield run
    for process in running:
        process.terminate()  # not kill: what a killed process has run counts for no coverage
        process.communicate(timeout=30)


@pytest.fixture
def server(start) -> Server:
    """One server on the store."""
    return start()
