"""The benchmarks as users run them: real processes, with tiny sizes. What they measure is never judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(tmp_path):
    """Run one benchmark to its end, its stores below `tmp_path / "place"`."""
    place = tmp_path / "place"
    place.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", *arguments, "--directory", str(place)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    yield run
    assert not list(place.iterdir()), "the stores were left behind"


@pytest.fixture
def measured(benchmarks):
    """Run one benchmark and return its report."""

    def run(*arguments: str):
        done = benchmarks(*arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
