"""A view: the ordered segments of one moment, frozen. Readers take it once and never look back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stratakv.ghosts import Ghosts
from stratakv.lookup import Candidates, Row, is_sieved, rows_of
from stratakv.manifest import Manifest
from stratakv.segment import Segment
from stratakv.sieve import Sieve

FORKED = -1  # the generation of a view that a child has from its parent


@dataclass(frozen=True, slots=True)
class View:
    """generation: of the manifest it was made from, or FORKED.

    hidden: for each segment's number the prefixes that younger range tombstones delete in it; empty where
    there is no range tombstone at all. marks: reads are counted in the hot bytes, for eviction. ghosts: the
    keys that were evicted lately. rows: the active segment's, then those of the sealed ones, as far as the
    sieve does not know them. older: the others; None where there are none.
    """

    generation: int
    manifest: Manifest
    active: Segment
    sealed: tuple[Segment, ...]  # newest first
    rows: tuple[Row, ...]
    older: Candidates | None
    hidden: Mapping[int, tuple[bytes, ...]]
    marks: bool
    ghosts: Ghosts | None
    sieve: Sieve | None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        active: Segment,
        sealed: tuple[Segment, ...],
        *,
        marks: bool,
        ghosts: Ghosts | None,
        sieve: Sieve | None,
    ) -> View:
        segments = (active, *sealed)
        newer = next((n for n, each in enumerate(segments) if is_sieved(each, sieve)), len(segments))
        return cls(
            generation=manifest.generation,
            manifest=manifest,
            active=active,
            sealed=sealed,
            rows=rows_of(segments[:newer]),
            older=Candidates(segments[newer:], sieve) if newer < len(segments) else None,
            hidden=_hidden(segments),
            marks=marks,
            ghosts=ghosts,
            sieve=sieve,
        )

    def forked(self) -> View:
        """Return the same view as one that must be refreshed before use."""
        return replace(self, generation=FORKED)

    def segments(self) -> Iterator[Segment]:
        """Yield all segments, newest first."""
        yield self.active
        yield from self.sealed

    def newer_than(self, segment: Segment) -> Sequence[Segment]:
        """Return the sealed segments that are newer than this one, newest first."""
        return self.sealed[: self.sealed.index(segment)]

    def older_than(self, segment: Segment) -> Sequence[Segment]:
        """Return the sealed segments that are older than this one, newest first."""
        return self.sealed[self.sealed.index(segment) + 1 :]

    def among(self, segments: Iterable[Segment]) -> Candidates:
        """Return how to look many keys up in some of the segments, newest first."""
        return Candidates(segments, self.sieve)

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
