"""FORMAT: a store, no store, or one of a newer version."""

from __future__ import annotations

from fuzz import places
from stratakv.directory import FORMAT_NAME
from stratakv.errors import DirectoryError, FormatError

_directory = places.directory()


def run(data: bytes) -> None:
    (_directory.path / FORMAT_NAME).write_bytes(data)
    try:
        assert _directory.is_store()
        assert data == b"stratakv 1\n"
    except FormatError:
        assert data.startswith(b"stratakv ")
    except DirectoryError:
        assert data != b"stratakv 1\n"
