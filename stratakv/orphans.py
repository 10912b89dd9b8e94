"""Files that no manifest names: what processes left behind that died while they made or removed them."""

from __future__ import annotations

import re

from stratakv.directory import Directory
from stratakv.log import HEADER_BYTES, LogHeader
from stratakv.manifest import Manifest

_OF_ONE_PROCESS = re.compile(r"\d+\.\d+\.tmp")  # an index that somebody may be building just now


def remove_orphans(directory: Directory, found: Manifest, *, alone: bool = False) -> None:
    """Remove the files that the manifest does not name; nobody may be making a segment or a manifest.

    alone: nobody else has the store open, so nobody is building an index either.
    """
    named = found.numbers()
    for number in {*directory.numbers("log"), *directory.numbers("idx")} - named:
        if _is_ours(directory, number):
            directory.remove(number)
    for name in directory.files.names(directory.path):
        if name.endswith(".tmp") and (alone or not _OF_ONE_PROCESS.fullmatch(name)):
            directory.discard(directory.path / name)


def _is_ours(directory: Directory, number: int) -> bool:
    """Whether a file named like a log is one, or one that was never finished; not just a name like ours."""
    try:
        with directory.open(directory.log_path(number), write=False) as file:
            head = directory.files.pread(file.fileno(), HEADER_BYTES, 0)
    except FileNotFoundError:
        return True  # an index without a log
    return not any(head) or LogHeader.unpack(head) is not None
