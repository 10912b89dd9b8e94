"""Programs of this package in processes of their own, begun at a moment that whoever starts them chooses.

Each says "ready" when it could begin, begins when it is told a line, and ends with one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_ROOT = Path(__file__).parents[1]


class Child:
    """One such process, ready to begin; a context manager, at whose end it is gone."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        if self._line() != "ready\n":
            self._process.wait()
            raise RuntimeError(f"{module} could not begin")

    def begin(self) -> None:
        """Let it do its work."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, float]:
        """Wait for what it found out."""
        line = self._line()
        if self._process.wait():
            raise RuntimeError(f"a child ended with status {self._process.returncode}")
        found: dict[str, float] = json.loads(line)
        return found

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with self._process:  # closes its pipes, and waits
            pass
