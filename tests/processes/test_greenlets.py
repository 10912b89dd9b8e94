"""A process whose threads are greenlets, as those of `gunicorn --worker-class=gevent`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("durability", ["always", "interval", "os"])
def test_greenlets_share_a_store_and_a_cache(tmp_path: Path, durability: str) -> None:
    pytest.importorskip("gevent", reason="needs the package gevent from PyPI")
    command = [sys.executable, "-m", "tests.support.greenlets", str(tmp_path), durability]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_greenlets_of_a_process_that_was_forked_with_a_store(tmp_path: Path) -> None:
    """Whose locks gevent replaces only then: one of before would stop all greenlets for ever."""
    pytest.importorskip("gevent", reason="needs the package gevent from PyPI")
    # Since Python 3.12 a fork with threads warns.
    quiet = "-Wignore::DeprecationWarning"
    command = [sys.executable, quiet, "-m", "tests.support.patched_late", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")
