"""The list of breakages fits the present sources; whether all of them are caught takes minutes to see."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.breakages.breakage import ROOT, Breakage
from tests.breakages.breakages import BREAKAGES


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_its_text_is_there_once(breakage: Breakage) -> None:
    text = (ROOT / breakage.file).read_text()
    assert breakage.broken(text) != text
    for test in breakage.tests:
        file, *names = test.partition("[")[0].split("::")
        source = (ROOT / file).read_text()
        assert all(f"def {name}(" in source or f"class {name}:" in source for name in names), test


def test_names_are_different() -> None:
    assert len({breakage.name for breakage in BREAKAGES}) == len(BREAKAGES)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.breakages", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_they_are_listed() -> None:
    listed = run("--list")
    assert listed.returncode == 0
    assert all(breakage.name in listed.stdout for breakage in BREAKAGES[:5])


def test_one_of_them_is_caught() -> None:
    found = run("record-without-checksum")
    assert (found.returncode, "1 of 1" in found.stdout) == (0, True), found.stdout + found.stderr
