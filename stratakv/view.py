"""A view: the ordered segments of one moment, frozen. Readers take it once and never look back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from stratakv.ghosts import Ghosts
from stratakv.manifest import Manifest
from stratakv.segment import Segment

FORKED = -1  # the generation of a view that a child has from its parent

# Bloom words, how many there are, and the segment: all that a lookup that finds nothing touches.
Row = tuple[memoryview, int, Segment]


@dataclass(frozen=True, slots=True)
class View:
    """generation: of the manifest it was made from, or FORKED.

    hidden: for each segment's number the prefixes that younger range tombstones delete in it; empty where
    there is no range tombstone at all. marks: reads are counted in the hot bytes, for eviction. ghosts: the
    keys that were evicted lately.
    """

    generation: int
    manifest: Manifest
    active: Segment
    sealed: tuple[Segment, ...]  # newest first
    rows: tuple[Row, ...]  # the active segment's, then those of the sealed ones
    hidden: Mapping[int, tuple[bytes, ...]]
    marks: bool
    ghosts: Ghosts | None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        active: Segment,
        sealed: tuple[Segment, ...],
        *,
        marks: bool,
        ghosts: Ghosts | None,
    ) -> View:
        segments = (active, *sealed)
        return cls(
            generation=manifest.generation,
            manifest=manifest,
            active=active,
            sealed=sealed,
            rows=tuple((segment.bloom, segment.word_count, segment) for segment in segments),
            hidden=_hidden(segments),
            marks=marks,
            ghosts=ghosts,
        )

    def forked(self) -> View:
        """Return the same view as one that must be refreshed before use."""
        return replace(self, generation=FORKED)

    def segments(self) -> Iterator[Segment]:
        """Yield all segments, newest first."""
        yield self.active
        yield from self.sealed

    def hides(self, segment: Segment, key: bytes) -> bool:
        """Whether a younger range tombstone has deleted what `segment` holds of `key`."""
        return bool(self.hidden) and key.startswith(self.hidden[segment.number])


def _hidden(segments: Iterable[Segment]) -> dict[int, tuple[bytes, ...]]:
    """Collect the range tombstones, newest segment first: each deletes in every older one."""
    hidden: dict[int, tuple[bytes, ...]] = {}
    above: tuple[bytes, ...] = ()
    for segment in segments:
        hidden[segment.number] = above
        above = (*above, *segment.ranges)
    return hidden if above else {}
