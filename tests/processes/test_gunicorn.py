"""A real pre-fork server, with the store opened before the fork and after it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import stratakv

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="needs the package gunicorn from PyPI"
)
ROOT = Path(__file__).parents[2]
REQUESTS, MOST = 200, 10_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gunicorn(store: Path, *options: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", "3", "--bind", f"127.0.0.1:{port}", *options]
    server = subprocess.Popen(
        [*command, "tests.support.wsgi_counter"],
        cwd=ROOT,
        env={**os.environ, "STRATAKV_TEST_STORE": str(store)},
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        errors = server.communicate(timeout=30)[1].decode()
    assert server.returncode == 0, errors
    assert "Traceback" not in errors, errors


@pytest.mark.parametrize("options", [(), ("--preload",), ("--threads", "4")], ids=" ".join)
def test_every_worker_counts_in_one_store(tmp_path: Path, options: tuple[str, ...]) -> None:
    def ask(url: str) -> tuple[int, int]:
        with urllib.request.urlopen(url, timeout=30) as answer:
            pid, count = answer.read().split()
            return int(pid), int(count)

    with gunicorn(tmp_path / "store", *options) as url, ThreadPoolExecutor(8) as pool:
        answers: list[tuple[int, int]] = []
        while len(answers) < MOST and len({pid for pid, _ in answers}) < 2:  # some may take long to begin
            answers += pool.map(ask, [url] * REQUESTS)
        with stratakv.open(tmp_path / "store", read_only=True) as db:
            assert db.get(b"requests") == b"%d" % len(answers)  # seen from outside while the server runs
    assert sorted(count for _, count in answers) == list(range(1, len(answers) + 1))
    assert len({pid for pid, _ in answers}) > 1
    with stratakv.open(tmp_path / "store") as db:
        assert db.verify().damage == ()
        assert len(list(db.scan(prefix=b"request-"))) == len(answers)
