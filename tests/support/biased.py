"""What tests of the writer lock that is had by a word share."""

from __future__ import annotations

import pytest

from stratakv import bias, commit
from stratakv.files import Files

needs_barriers = pytest.mark.skipif(
    not Files.ORDERED or not Files().join_barriers(),
    reason="needs x86_64 and a kernel that allows membarrier(2): elsewhere `flock` is all there is",
)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process have the lock by its word after a few records, in its children, too."""
    monkeypatch.setattr(bias, "_ENOUGH", 8)
    monkeypatch.setattr(commit, "LOOK", 4)
