"""Caches in a temporary directory, and other Python processes that use them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from stratakv_django import handles
from stratakv_django.cache import StrataKVCache

ROOT = Path(__file__).parents[2]
PROCESS_SECONDS = 60

# Where nothing is said about maintenance, a test is not about it and should not wait for its processes.
OPTIONS = {"strict": True, "maintenance": "manual"}

# As in pyproject.toml: a store has threads, and forking with them is what some tests are about.
WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")

# What a process runs before the code of a test: `cache` is the strict cache of the `cache` fixture.
PREAMBLE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from stratakv_django.cache import StrataKVCache
cache = StrataKVCache(sys.argv[1], {"OPTIONS": {"strict": True, "maintenance": "manual"}})
"""


class MakeCache(Protocol):
    def __call__(
        self, backend: type[StrataKVCache] = ..., /, *, location: str = ..., **params: Any
    ) -> StrataKVCache: ...


def keepers(path: Path) -> list[str]:
    """The command lines of the processes that do the maintenance of a store below `path`."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(each.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if "stratakv.keep" in line and str(path) in line]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The directory of the `cache` fixture; it is made when the cache is first used."""
    return tmp_path / "store"


@pytest.fixture
def make_cache(tmp_path: Path) -> Iterator[MakeCache]:
    """Makes a backend as Django does, from the settings of an alias; OPTIONS, unless it says otherwise."""

    def make(
        backend: type[StrataKVCache] = StrataKVCache, /, *, location: str = "store", **params: Any
    ) -> StrataKVCache:
        params["OPTIONS"] = {**OPTIONS, **params.get("OPTIONS", {})}
        return backend(str(tmp_path / location), params)

    yield make
    handles.close_all()
    assert keepers(tmp_path) == []


@pytest.fixture
def cache(make_cache: MakeCache) -> StrataKVCache:
    return make_cache()


@pytest.fixture
def spawn(store: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that runs `code` with `cache` on the same store; none outlives the test."""
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *WARNINGS, "-c", PREAMBLE + textwrap.dedent(code), str(store)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def run(spawn: Callable[[str], subprocess.Popen[str]]) -> Callable[..., list[str]]:
    """Runs each piece of code in a process of its own, all at once, and returns what each printed."""

    def finish(*codes: str) -> list[str]:
        outputs = []
        for process in [spawn(code) for code in codes]:
            output, errors = process.communicate(timeout=PROCESS_SECONDS)
            assert process.returncode == 0, errors
            outputs.append(output.strip())
        return outputs

    return finish
