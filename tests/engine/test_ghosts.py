"""The table of ghosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stratakv import DB
from stratakv.ghosts import Ghosts, entries_for, size_of
from stratakv.index import hash_key


def table(keys: int, memory: int) -> Ghosts:
    made = Ghosts(bytearray(size_of(entries_for(keys, 2**40))))
    made.start()
    made.set_memory(memory)
    return made


def first(number: int) -> int:
    return hash_key(b"%d" % number)[0]


def test_an_evicted_key_is_recalled_once() -> None:
    ghosts = table(100, 100)
    ghosts.add(first(1))
    assert not ghosts.recall(first(2))
    assert ghosts.recall(first(1))
    assert not ghosts.recall(first(1)), "it is back"


def test_it_is_forgotten_after_so_many_evictions() -> None:
    ghosts = table(1000, 10)
    ghosts.add(first(0))
    for number in range(1, 10):
        ghosts.add(first(number))
    assert ghosts.recall(first(0))
    ghosts.add(first(0))
    for number in range(1, 11):
        ghosts.add(first(number))
    assert not ghosts.recall(first(0))


def test_most_are_remembered_where_there_is_room() -> None:
    ghosts = table(1000, 1000)
    for number in range(1000):
        ghosts.add(first(number))
    assert sum(ghosts.recall(first(number)) for number in range(1000)) > 700
    assert not any(ghosts.recall(first(number)) for number in range(1000, 3000))


def test_an_empty_table_recalls_nothing() -> None:
    ghosts = table(100, 2**32 - 1)
    assert not ghosts.recall(0), "an empty entry has the fingerprint 0"


def test_the_number_of_evictions_may_overflow() -> None:
    ghosts = table(100, 10)
    ghosts._header[3] = 2**32 - 2
    for number in range(4):
        ghosts.add(first(number))
    assert all(ghosts.recall(first(number)) for number in range(4))


@pytest.mark.parametrize(("keys", "entries"), [(0, 512), (256, 512), (257, 1024), (10**9, 2**22)])
def test_size_follows_the_keys_and_is_bounded(keys: int, entries: int) -> None:
    assert entries_for(keys, 2**40) == entries


def test_a_small_budget_has_a_small_table() -> None:
    for max_bytes in (2**18, 2**20, 2**25):
        assert size_of(entries_for(10**9, max_bytes)) <= max(5000, max_bytes / 60)


def test_what_is_no_table_is_not_sound() -> None:
    made = table(100, 100)
    assert made.is_sound()
    assert not Ghosts(bytearray(size_of(512))).is_sound()
    buffer = bytearray(size_of(512))
    Ghosts(buffer).start()
    assert not Ghosts(buffer[:-8]).is_sound()


@pytest.mark.parametrize("sound", [True, False])
def test_a_file_that_is_no_table_is_not_asked(open_: Callable[..., DB], path: Path, sound: bool) -> None:
    open_(max_bytes=2**20).close()
    buffer = bytearray(size_of(512))
    made = Ghosts(buffer)
    made.start()
    made.set_memory(10)
    made.add(first(1))
    (path / "GHOSTS").write_bytes(buffer if sound else b"x" + buffer[1:])
    db = open_(max_bytes=2**20)
    db.put(b"1", b"v")
    assert sum(db._store.structure.current().active.hot) == sound
