"""The targets, and the limits within which each must take any input."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
# The longest input, in bytes: enough for what the target can tell apart, and not more.
LONGEST = {
    "record": 512,
    "log": 1024,
    "index": 1024,
    "manifest": 4096,
    "control": 512,
    "ghosts": 256,
    "format": 128,
    "directory": 1024,
    "codec": 256,
}
SECONDS_FOR_ONE = 20
MEBIBYTES = 1024


def target(name: str) -> Callable[[bytes], None]:
    """Return the function that takes an input of this target."""
    run: Callable[[bytes], None] = importlib.import_module(f"fuzz.{name}").run
    return run


def corpus(name: str) -> list[Path]:
    """Return the inputs of a target that are kept."""
    return sorted((CORPUS / name).iterdir())
