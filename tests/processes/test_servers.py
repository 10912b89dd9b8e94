"""Real pre-fork servers, with the store opened before the fork and after it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import stratakv

ROOT = Path(__file__).parents[2]
COUNTER = "tests.support.wsgi_counter"
WORKERS, REQUESTS, MOST = 3, 200, 10_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server(name: str, port: int, options: Sequence[str]) -> list[str]:
    """Return the command that serves the counter with so many workers."""
    package = {"gunicorn": "gunicorn", "uwsgi": "pyuwsgi"}[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the package {package} from PyPI")
    if name == "gunicorn":
        if "--worker-class=gevent" in options and importlib.util.find_spec("gevent") is None:
            pytest.skip("needs the package gevent from PyPI")
        return [sys.executable, "-m", "gunicorn", f"--workers={WORKERS}", f"--bind=127.0.0.1:{port}", COUNTER]
    # Its program is beside the interpreter; it has to be told where the packages are.
    program = [str(Path(sys.executable).with_name("uwsgi")), "--virtualenv", sys.prefix]
    return [
        *program,
        "--master",
        f"--processes={WORKERS}",
        f"--http-socket=127.0.0.1:{port}",
        "--module",
        COUNTER,
    ]


@contextmanager
def serving(store: Path, name: str, *options: str) -> Iterator[str]:
    port, log = free_port(), store.with_suffix(".errors")
    with log.open("wb") as errors:  # no pipe: uWSGI tells of each request, and would fill it
        process = subprocess.Popen(
            [*server(name, port, options), *options],
            cwd=ROOT,
            env={**os.environ, "STRATAKV_TEST_STORE": str(store)},
            stderr=errors,
        )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        status = process.wait(30)
    assert status == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn",),
        ("gunicorn", "--preload"),
        ("gunicorn", "--threads=4"),
        ("gunicorn", "--worker-class=gevent"),
        ("gunicorn", "--worker-class=gevent", "--preload"),
        # All but the last open the store before they fork, and Python hears nothing of the forks.
        ("uwsgi", "--die-on-term"),
        ("uwsgi", "--die-on-term", "--threads=4"),
        ("uwsgi", "--die-on-term", "--lazy-apps"),
    ],
    ids=" ".join,
)
def test_every_worker_counts_in_one_store(tmp_path: Path, command: tuple[str, ...]) -> None:
    def ask(url: str) -> tuple[int, int]:
        with urllib.request.urlopen(url, timeout=30) as answer:
            pid, count = answer.read().split()
            return int(pid), int(count)

    with serving(tmp_path / "store", *command) as url, ThreadPoolExecutor(8) as pool:
        answers: list[tuple[int, int]] = []
        # Some may take long to begin; uWSGI waits for ever if it is ended before they have.
        while len(answers) < MOST and len({pid for pid, _ in answers}) < WORKERS:
            answers += pool.map(ask, [url] * REQUESTS)
        with stratakv.open(tmp_path / "store", read_only=True) as db:
            assert db.get(b"requests") == b"%d" % len(answers)  # seen from outside while the server runs
    assert sorted(count for _, count in answers) == list(range(1, len(answers) + 1))
    assert len({pid for pid, _ in answers}) == WORKERS
    with stratakv.open(tmp_path / "store") as db:
        assert db.verify().damage == ()
        assert len(list(db.scan(prefix=b"request-"))) == len(answers)
