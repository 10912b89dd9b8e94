"""MANIFEST: which segments are the store, as one value; changed only by replacing it as a whole.

The file is two lines: `stratakv-manifest 1 <XXH3-64 of the second line, 16 hex digits>`, then the
manifest as JSON, segments newest first. The checksum finds accidents; what a sound one covers is still
checked value by value (`_is_possible`), as everything that is computed from a manifest takes it to be so.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

from xxhash import xxh3_64_hexdigest

from stratakv.directory import MANIFEST_NAME, MOST_NUMBER, OLD_MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError, DirectoryError
from stratakv.interrupted import check_refused
from stratakv.log import HEADER_BYTES as LOG_HEADER_BYTES
from stratakv.log import OFFSET_MASK, LogHeader, rank_of
from stratakv.record import HEADER_BYTES as RECORD_HEADER_BYTES

_TITLE = "stratakv-manifest 1 "
_MOST_BYTES = 16 * 2**20  # of a manifest: more segments than a process can map
_MOST = 2**63  # of anything else
_NESTED = 3  # an object in a list in an object

SegmentKind = Literal["young", "main"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed segment.

    kind: "young" as writers left it, or merged from such; "main" for what has outlived that. In a store
        without a budget all that was merged is main.
    oldest, newest: the range of ranks whose records it holds, see `log`.
    size: bytes of its log. keys: keys in its index.
    synced: bytes of the log known to be on disk. poisoned: a sync of it failed.
    began: when its oldest record was written at the earliest. ordered: the log is in key order.
    finished: maintenance has given it its final index, and counted what follows.
    dead: bytes of its log that newer records hide, as far as maintenance has seen.
    tombstones: bytes of its log that are tombstones.
    soonest, latest: when the first and the last of its records expire; latest is 0 where some never do.
    All times are milliseconds since the epoch.
    """

    number: int
    kind: SegmentKind
    oldest: int
    newest: int
    size: int
    keys: int
    synced: int
    poisoned: bool = False
    began: int = 0
    ordered: bool = False
    finished: bool = False
    dead: int = 0
    tombstones: int = 0
    soonest: int = 0
    latest: int = 0

    @classmethod
    def of(cls, header: LogHeader, size: int, keys: int, synced: int) -> Entry:
        """Return the entry of a log with this header, of which no more is known than what is given.

        A log in key order was written with its final index, so it counts as finished.
        """
        return cls(
            number=header.number,
            kind="main" if header.main else "young",
            oldest=header.oldest,
            newest=header.newest,
            size=size,
            keys=keys,
            synced=synced,
            began=header.began,
            ordered=header.ordered,
            finished=header.ordered,
        )

    @property
    def is_original(self) -> bool:
        """Whether writers wrote its log, see `LogHeader.is_original`."""
        return self.newest == rank_of(self.number)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The store's structure at one moment; `segments` are the sealed ones, newest first.

    floor: every segment whose newest rank is below it has been dropped. max_bytes: the budget, 0 for none.
    """

    generation: int
    active: int
    next_number: int
    floor: int = 0
    max_bytes: int = 0
    segments: tuple[Entry, ...] = ()

    def numbers(self) -> set[int]:
        return {self.active, *(entry.number for entry in self.segments)}


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of structure: sealed segments to drop and to add, and what becomes active."""

    drop: Collection[int] = ()
    add: tuple[Entry, ...] = ()
    active: int | None = None
    floor: int = 0
    max_bytes: int | None = None
    synced: dict[int, int] = field(default_factory=dict)  # segment number -> bytes now known to be on disk
    poisoned: Collection[int] = ()


_ENTRY = tuple(each.name for each in fields(Entry))
_MANIFEST = tuple(each.name for each in fields(Manifest) if each.name != "segments")
_FLAGS = ("poisoned", "ordered", "finished")
_COUNTS = tuple(name for name in _ENTRY if name not in ("kind", *_FLAGS))


def apply(manifest: Manifest, edit: Edit, next_number: int) -> Manifest:
    """Return the manifest that follows; pure."""
    kept = (_edited(entry, edit) for entry in manifest.segments if entry.number not in edit.drop)
    return Manifest(
        generation=manifest.generation + 1,
        active=manifest.active if edit.active is None else edit.active,
        next_number=next_number,
        floor=max(manifest.floor, edit.floor),
        max_bytes=manifest.max_bytes if edit.max_bytes is None else edit.max_bytes,
        segments=tuple(sorted((*kept, *edit.add), key=lambda entry: -entry.newest)),
    )


def _edited(entry: Entry, edit: Edit) -> Entry:
    """What is known to be on disk grows, unless a sync of the log has ever failed."""
    if entry.poisoned or entry.number in edit.poisoned:
        return replace(entry, poisoned=True)
    synced = edit.synced.get(entry.number, 0)
    return replace(entry, synced=synced) if synced > entry.synced else entry


def encode(manifest: Manifest) -> bytes:
    # `dataclasses.asdict` takes ten times as long, and this runs under the writer lock.
    segments = [{name: getattr(entry, name) for name in _ENTRY} for entry in manifest.segments]
    values = {name: getattr(manifest, name) for name in _MANIFEST}
    body = json.dumps({**values, "segments": segments}, separators=(",", ":"))
    return f"{_TITLE}{xxh3_64_hexdigest(body.encode())}\n{body}\n".encode()


@lru_cache(maxsize=2)  # whoever edits it reads it again first, under the writer lock: 7 ms for 300 segments
def decode(data: bytes) -> Manifest:
    """Return the manifest in `data`; raises ValueError with the reason where it is not sound."""
    title, _, body = data.decode("ascii", "replace").partition("\n")
    body = body.removesuffix("\n")
    if not title.startswith(_TITLE):
        raise ValueError("the first line is not that of a manifest")
    if title.removeprefix(_TITLE) != xxh3_64_hexdigest(body.encode()):
        raise ValueError("the checksum does not hold")
    try:
        values: dict[str, Any] = json.loads(body)
        if type(values["segments"]) is not list:
            raise TypeError("the segments are no list")
        values["segments"] = tuple([Entry(**entry) for entry in values["segments"]])
        found = Manifest(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(f"its fields are not those of a manifest: {error}") from None
    except RecursionError:
        if _nesting(body) <= _NESTED:  # it is the caller that is deep
            raise
        raise ValueError("its fields are not those of a manifest: they are nested") from None
    if not _is_possible(found):
        raise ValueError("it says what cannot be")
    return found


def _nesting(body: str) -> int:
    """Return how deep the lists and objects of a text are within one another."""
    return max(accumulate((sign in "[{") - (sign in "]}") for sign in body))


def _is_possible(found: Manifest) -> bool:
    """Whether every value is of its type and within its bounds, and whether they agree with each other."""
    numbers = [found.active, *(entry.number for entry in found.segments)]
    ranks = [entry.newest for entry in found.segments]
    return (
        all(_is_count(getattr(found, name)) for name in _MANIFEST)
        and all(_is_entry(entry) for entry in found.segments)
        and len(set(numbers)) == len(numbers)
        and 1 <= min(numbers) <= max(numbers) < found.next_number <= MOST_NUMBER
        and ranks == sorted(ranks, reverse=True)
    )


def _is_entry(entry: Entry) -> bool:
    return (
        all(_is_count(getattr(entry, name)) for name in _COUNTS)
        and all(type(getattr(entry, name)) is bool for name in _FLAGS)
        and entry.kind in ("young", "main")
        and entry.oldest <= entry.newest <= rank_of(entry.number)
        and LOG_HEADER_BYTES <= entry.size <= OFFSET_MASK
        and entry.keys * RECORD_HEADER_BYTES <= entry.size
        and entry.synced <= entry.size
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def load(directory: Directory) -> Manifest:
    """Read the manifest; raises CorruptionError for a damaged or a missing one."""
    path = directory.path / MANIFEST_NAME
    try:
        return decode(directory.files.read_all(path, _MOST_BYTES))
    except FileNotFoundError:
        raise CorruptionError(path, 0, "the file is missing") from None
    except ValueError as reason:
        raise CorruptionError(path, 0, str(reason)) from None
    except OSError as cause:
        check_refused(cause)
        raise DirectoryError(f"{path} cannot be read: {cause.strerror}") from cause


def install(directory: Directory, manifest: Manifest) -> None:
    """Make `manifest` the durable truth; the one it replaces stays beside it."""
    directory.keep(MANIFEST_NAME, OLD_MANIFEST_NAME)
    directory.replace(MANIFEST_NAME, encode(manifest))
