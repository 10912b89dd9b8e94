"""MANIFEST: which segments are the store, as one value; changed only by replacing it as a whole.

The file is two lines: `stratakv-manifest 1 <XXH3-64 of the second line, 16 hex digits>`, then the
manifest as JSON, segments newest first.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from xxhash import xxh3_64_hexdigest

from stratakv.directory import MANIFEST_NAME, OLD_MANIFEST_NAME, Directory
from stratakv.errors import CorruptionError, DirectoryError

_TITLE = "stratakv-manifest 1 "

Generation = Literal["young", "main"]


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
    kind: Generation
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
    return replace(entry, synced=max(entry.synced, edit.synced.get(entry.number, 0)))


def encode(manifest: Manifest) -> bytes:
    # `dataclasses.asdict` takes ten times as long, and this runs under the writer lock.
    segments = [{name: getattr(entry, name) for name in _ENTRY} for entry in manifest.segments]
    values = {name: getattr(manifest, name) for name in _MANIFEST}
    body = json.dumps({**values, "segments": segments}, separators=(",", ":"))
    return f"{_TITLE}{xxh3_64_hexdigest(body.encode())}\n{body}\n".encode()


def decode(data: bytes) -> Manifest:
    """Return the manifest in `data`; raises ValueError with the reason where it is not sound."""
    title, _, body = data.decode("ascii", "replace").partition("\n")
    body = body.removesuffix("\n")
    if not title.startswith(_TITLE):
        raise ValueError("the first line is not that of a manifest")
    if title.removeprefix(_TITLE) != xxh3_64_hexdigest(body.encode()):
        raise ValueError("the checksum does not hold")
    values: dict[str, Any] = json.loads(body)
    values["segments"] = tuple(Entry(**entry) for entry in values["segments"])
    return Manifest(**values)


def load(directory: Directory) -> Manifest:
    """Read the manifest; raises CorruptionError for a damaged or a missing one."""
    path = directory.path / MANIFEST_NAME
    try:
        return decode(directory.files.read_all(path))
    except FileNotFoundError:
        raise CorruptionError(path, 0, "the file is missing") from None
    except (ValueError, TypeError, KeyError) as reason:
        raise CorruptionError(path, 0, str(reason)) from None
    except OSError as cause:
        raise DirectoryError(f"{path} cannot be read: {cause.strerror}") from cause


def install(directory: Directory, manifest: Manifest) -> None:
    """Make `manifest` the durable truth; the one it replaces stays beside it."""
    directory.keep(MANIFEST_NAME, OLD_MANIFEST_NAME)
    directory.replace(MANIFEST_NAME, encode(manifest))
