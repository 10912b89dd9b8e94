"""Caches in a temporary directory, and other Python processes that use them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from stratakv_django import handles
from stratakv_django.cache import StrataKVCache

ROOT = Path(__file__).parents[2]
PROCESS_SECONDS = 60

# What a process runs before the code of a test: `cache` is the strict cache of the `cache` fixture.
PREAMBLE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from stratakv_django.cache import StrataKVCache
cache = StrataKVCache(sys.argv[1], {"OPTIONS": {"strict": True}})
"""


class MakeCache(Protocol):
    def __call__(
        self, backend: type[StrataKVCache] = ..., /, *, location: str = ..., **params: Any
    ) -> StrataKVCache: ...


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The directory of the `cache` fixture; it is made when the cache is first used."""
    return tmp_path / "store"


@pytest.fixture
def make_cache(tmp_path: Path) -> Iterator[MakeCache]:
    """Makes a backend as Django does, from the settings of an alias; strict unless OPTIONS say otherwise."""

    def make(
        backend: type[StrataKVCache] = StrataKVCache, /, *, location: str = "store", **params: Any
    ) -> StrataKVCache:
        params["OPTIONS"] = {"strict": True, **params.get("OPTIONS", {})}
        return backend(str(tmp_path / location), params)

    yield make
    handles.close_all()


@pytest.fixture
def cache(make_cache: MakeCache) -> StrataKVCache:
    return make_cache()


@pytest.fixture
def spawn(store: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that runs `code` with `cache` on the same store; none outlives the test."""
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(code), str(store)],
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
