"""Recorded requests of real programs, and the sizes of cache at which they are worth replaying.

Both formats are as shipped with the simulator of https://github.com/ben-manes/caffeine: `*.gz` is gzipped
text, one integer a line, where a line `*` is a separator (the traces of the LIRS authors, S. Jiang and
X. Zhang, SIGMETRICS 2002); `*.xz` is LZMA-compressed big-endian unsigned 32-bit integers (the traces of the
cache2k benchmark).
"""

from __future__ import annotations

import gzip
import lzma
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A cache of so many objects is neither too small for the trace nor large enough for nearly all of it.
TRACES = {
    "multi1.trace.gz": 1000,
    "multi2.trace.gz": 2000,
    "sprite.trace.gz": 1000,
    "2_pools.trace.gz": 500,
    "web07.trace.xz": 4000,
}
MIDDLE = "medium"
_RELATIVE_SIZES = {"half": 0.5, MIDDLE: 1.0, "twice": 2.0}


@dataclass(frozen=True, slots=True)
class Case:
    """One trace and one size of cache, in objects; `scale` says which of the trace's sizes it is."""

    trace: str
    scale: str
    objects: int


def cases() -> Iterator[Case]:
    """Yield each trace with each of its sizes."""
    for name, objects in TRACES.items():
        for scale, factor in _RELATIVE_SIZES.items():
            yield Case(name, scale, int(objects * factor))


def missing_from(folder: Path) -> list[str]:
    """Return the names of the traces that `folder` does not have."""
    return [name for name in TRACES if not (folder / name).is_file()]


def load(path: Path) -> Sequence[int]:
    """Return the keys of a trace, in the order in which they were requested."""
    return _load_text(path) if path.suffix == ".gz" else _load_words(path)


def _load_text(path: Path) -> Sequence[int]:
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return array("q", (int(line) for line in lines if line.strip() not in ("", "*")))


def _load_words(path: Path) -> Sequence[int]:
    words = array("I")
    with lzma.open(path, "rb") as stream:
        words.frombytes(stream.read())
    if sys.byteorder == "little":
        words.byteswap()
    return words
