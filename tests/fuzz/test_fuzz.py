"""Every parser of bytes from disk takes whatever bytes there are: see `fuzz`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from fuzz.targets import LONGEST, SECONDS_FOR_ONE, corpus

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("STRATAKV_FUZZ_SECONDS", "10"))
targets = pytest.mark.parametrize("name", LONGEST)


def run(code: list[str], seconds: float) -> None:
    """Run Python in a process of its own: a target puts its own machine under the engine."""
    done = subprocess.run(
        [sys.executable, *code], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


@targets
def test_what_was_found_before(name: str) -> None:
    """All that is kept of earlier runs, with the failures of then among it; needs no fuzzer."""
    kept = [str(path) for path in corpus(name)]
    assert kept
    code = (
        "import pathlib, sys; from fuzz.targets import target; run = target(sys.argv[1])\n"
        "for path in sys.argv[2:]: print(path, flush=True); run(pathlib.Path(path).read_bytes())"
    )
    run(["-c", code, name, *kept], SECONDS_FOR_ONE * len(kept))


@pytest.fixture(scope="module")
def fuzzers(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Those that are asked for, as many at a time as there are processors."""
    names = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_what_has_not_been_seen"
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            name: pool.submit(run, ["-m", "fuzz", name, "--seconds", str(SECONDS)], 2 * SECONDS + 120)
            for name in names
        }


@targets
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the package atheris")
def test_what_has_not_been_seen(name: str, fuzzers: dict[str, Future[None]]) -> None:
    fuzzers[name].result()
