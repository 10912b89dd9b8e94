"""One breakage of the sources, and the trial of the tests that must notice it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 180  # seconds that no selection takes
# What a broken text raises because it is badly written, and not because of what it breaks.
_NO_BREAKAGE = re.compile(r"\b(SyntaxError|NameError|UnboundLocalError|ImportError)\b")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class UselessError(Exception):
    """A breakage that says nothing about the tests: its text has gone, or is no program."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """name: for the command line. breaks: what is not true any more, by its number in the design or in words.

    file, old, new: where which text, that stands there once, is replaced by which. tests: the node ids of
    what must fail then.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def broken(self, text: str) -> str:
        """Return the text of the file with the breakage in it; raises UselessError."""
        if text.count(self.old) != 1:
            raise UselessError(
                f"{self.name}: {self.file} has its text {text.count(self.old)} times, not once"
            )
        broken = text.replace(self.old, self.new)
        try:
            compile(broken, self.file, "exec")
        except SyntaxError as error:
            raise UselessError(f"{self.name}: {self.file} would be no program: {error}") from error
        return broken

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """Break the copy of the sources in `root` for as long as the block lasts."""
        path = root / self.file
        text = path.read_text()
        path.write_text(self.broken(text))
        try:
            yield
        finally:
            path.write_text(text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """caught: the test that failed, "" where none did. output: what pytest said."""

    caught: str
    output: str


def copy_sources(target: Path) -> None:
    """Copy what Git knows of the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_tests(root: Path, tests: Sequence[str], timeout: float = TIMEOUT) -> Outcome:
    """Run tests in a copy until the first that fails; raises UselessError where they cannot be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    # Compiled files would outlive a breakage that is as long as what it replaces.
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"no end within {timeout:.0f} s", "")
    output = ended.stdout + ended.stderr
    if ended.returncode not in (0, 1):
        raise UselessError(f"pytest ended with {ended.returncode} and not with a failed test:\n{output}")
    if not ended.returncode:
        return Outcome("", output)
    if _NO_BREAKAGE.search(output):
        raise UselessError(f"the tests fail for another reason than the breakage:\n{output}")
    failed = _FAILED.search(output)
    return Outcome(failed[1] if failed else "?", output)
