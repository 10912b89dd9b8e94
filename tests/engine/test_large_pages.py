"""What maintenance writes is written in large pieces, which maps then have; a verified index is let go of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB, opening
from stratakv.files import LARGE_PAGE
from tests.engine.machine import path_of

Open = Callable[..., DB]
SEGMENT_BYTES = 3 * LARGE_PAGE


def test_a_merged_log_is_written_in_whole_large_pages(open_: Open) -> None:
    db = open_(segment_bytes=SEGMENT_BYTES)
    files: Any = db._store.directory.files
    written: list[tuple[int, int]] = []
    pwrite = files.pwrite

    def noted(fd: int, data: Any, offset: int) -> int:
        if path_of(fd).name == "000004.log":
            written.append((offset, offset + len(data)))
        return int(pwrite(fd, data, offset))

    files.pwrite = noted
    for number in range(90):
        db.put(b"%d" % number, b"v" * 100_000)
    db.compact()
    header, *pieces, last = written
    assert len(pieces) == 4
    assert [end for _, end in pieces] == [LARGE_PAGE * number for number in range(1, 5)]
    assert [start for start, _ in (*pieces, last)] == [end for _, end in (header, *pieces)]
    assert db.verify().ok


def mapped_kib(path: Path) -> int:
    """How much of a file is in the maps of this process."""
    found = re.search(
        rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text()
    )
    assert found
    return int(found[1])


@pytest.mark.parametrize(("kept", "is_mapped"), [(0, False), (2**30, True)])
def test_a_large_index_is_not_kept_in_memory_for_having_been_verified(
    open_: Open, path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, is_mapped: bool
) -> None:
    db = open_(segment_bytes=SEGMENT_BYTES)
    db.put_many({b"%d" % number: b"v" for number in range(5000)})
    db.compact()
    db.close()
    del db
    monkeypatch.setattr(opening, "_KEPT_BYTES", kept)
    db = open_(segment_bytes=SEGMENT_BYTES)
    (index,) = [s.path.with_suffix(".idx") for s in db._store.structure.view.sealed]
    assert (mapped_kib(index) > 4) == is_mapped, "but for the page that is not full"
    assert db.get(b"17") == b"v"
    assert mapped_kib(index) > 4
