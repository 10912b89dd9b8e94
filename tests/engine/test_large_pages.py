"""An index that maintenance makes has large pages, and a large one is let go of once it is verified."""

from __future__ import annotations

import mmap
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import DB, opening
from stratakv.files import LARGE_PAGE
from tests.engine.machine import path_of

Open = Callable[..., DB]
SEGMENT_BYTES = 3 * LARGE_PAGE
PAGE_KIB = mmap.PAGESIZE // 1024


def test_the_index_of_a_merge_has_whole_large_pages(open_: Open) -> None:
    db = open_(segment_bytes=SEGMENT_BYTES)
    files: Any = db._store.directory.files
    written: dict[str, list[tuple[int, int]]] = defaultdict(list)
    pwrite = files.pwrite

    def noted(fd: int, data: Any, offset: int) -> int:
        written[path_of(fd).name].append((offset, len(data)))
        return int(pwrite(fd, data, offset))

    files.pwrite = noted
    db.put_many({b"%d" % number: b"v" for number in range(200_000)})
    db.compact()
    (index,) = [segment.path.with_suffix(".idx") for segment in db._store.structure.view.sealed]
    *pieces, (start, size) = written[index.name]
    assert pieces == [(LARGE_PAGE * number, LARGE_PAGE) for number in range(len(pieces))]
    assert len(pieces) >= 1
    assert start == LARGE_PAGE * len(pieces)
    assert 0 < size <= LARGE_PAGE
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
    assert (mapped_kib(index) > PAGE_KIB) == is_mapped, "but for the page that is not full"
    assert all(db.get(b"%d" % number) == b"v" for number in range(100))
    assert mapped_kib(index) > PAGE_KIB
