"""A view: the ordered segments of one moment, frozen. Readers take it once and never look back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stratakv.manifest import Manifest
from stratakv.segment import Segment

FORKED = -1  # the generation of a view that a child has from its parent

# Bloom words, how many there are, and the segment: all that a lookup that finds nothing touches.
Row = tuple[memoryview, int, Segment]


@dataclass(frozen=True, slots=True)
class View:
    """generation: of the manifest it was made from, or FORKED."""

    generation: int
    manifest: Manifest
    active: Segment
    sealed: tuple[Segment, ...]  # newest first
    rows: tuple[Row, ...]  # the active segment's, then those of the sealed ones

    @classmethod
    def of(cls, manifest: Manifest, active: Segment, sealed: tuple[Segment, ...]) -> View:
        rows = tuple((s.bloom, s.word_count, s) for s in (active, *sealed))
        return cls(manifest.generation, manifest, active, sealed, rows)

    def forked(self) -> View:
        """Return the same view as one that must be refreshed before use."""
        return replace(self, generation=FORKED)

    def segments(self) -> Iterator[Segment]:
        """Yield all segments, newest first."""
        yield self.active
        yield from self.sealed
