"""Somebody removes the directory of a store that is open, as one empties a cache of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import IO

import pytest

import stratakv
from stratakv import DB, RemovedError
from stratakv.files import Files
from stratakv.maintenance import keeper

ROOT = Path(__file__).parents[2]
OPTIONS = {"segment_bytes": 65_536, "maintenance": "manual", "durability": "os"}


def remove_directory(path: Path) -> None:
    shutil.rmtree(path)


def remove_content(path: Path) -> None:
    for each in path.iterdir():
        each.unlink()


def fill(db: DB) -> None:
    """Put more than the log has room for."""
    for number in range(100):
        db.put(b"%d" % number, bytes(5_000))


removals = pytest.mark.parametrize("remove", [remove_directory, remove_content])


@pytest.fixture
def db(path: Path) -> DB:
    return stratakv.open(path, **OPTIONS)


def elsewhere(path: Path, code: str) -> str:
    """What `code` prints in a process that has just opened the store."""
    program = f"import sys, stratakv\ndb = stratakv.open(sys.argv[1], **{OPTIONS!r})\n{code}"
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@removals
def test_it_can_be_seen(db: DB, path: Path, remove: Callable[[Path], None]) -> None:
    assert db.in_place()
    remove(path)
    assert not db.in_place()
    elsewhere(path, "db.put(b'key', b'new')")
    assert not db.in_place()


@removals
def test_a_store_that_was_made_in_its_place_is_left_alone(
    db: DB, path: Path, remove: Callable[[Path], None]
) -> None:
    remove(path)
    elsewhere(path, "db.put(b'key', b'new')")
    with pytest.raises(RemovedError, match="open it again"):
        fill(db)
    assert elsewhere(path, "print(db.verify().ok, *db.scan())") == "True (b'key', b'new')"


@removals
def test_with_a_budget_it_is_the_same_error(path: Path, remove: Callable[[Path], None]) -> None:
    db = stratakv.open(path, max_bytes=2**20, **OPTIONS)
    db.put(b"key", b"value")
    remove(path)
    with pytest.raises(RemovedError, match="open it again"):
        fill(db)


@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.delete_prefix(b"k"),
        lambda db: db.clear(),
        lambda db: db.compact(),
        lambda db: db.maintain(),
        lambda db: db.lock(b"k"),
        lambda db: db.stats(),
    ],
)
def test_what_would_be_done_by_the_names_of_files_is_refused(
    db: DB, path: Path, write: Callable[[DB], object]
) -> None:
    db.put(b"key", b"value")
    remove_directory(path)
    with pytest.raises(RemovedError):
        write(db)
    assert not path.exists()


@pytest.mark.parametrize("work", [DB.compact, DB.maintain])
def test_no_lock_is_made_in_what_took_its_place(db: DB, path: Path, work: Callable[[DB], object]) -> None:
    remove_content(path)
    with pytest.raises(RemovedError):
        work(db)
    assert not list(path.iterdir())


def test_a_child_that_is_forked_then_leaves_it_alone_too(db: DB, path: Path) -> None:
    db.put(b"key", b"old")
    remove_directory(path)
    elsewhere(path, "db.put(b'key', b'new')")
    if not (child := os.fork()):
        try:
            db.put(b"key", b"child")
        except RemovedError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert elsewhere(path, "print(db.verify().ok, *db.scan())") == "True (b'key', b'new')"


def test_closed_and_opened_again_it_goes_on(db: DB, path: Path) -> None:
    db.put(b"key", b"old")
    remove_directory(path)
    db.close()
    assert not path.exists()
    with stratakv.open(path, **OPTIONS) as anew:
        assert anew.get(b"key") is None
        anew.put_many({b"key": b"new"})
        assert anew.in_place()


def test_closed_after_others_have_changed_it_and_it_has_gone(path: Path) -> None:
    with stratakv.open(path, **OPTIONS) as db:
        db.put(b"key", b"old")
        elsewhere(path, "db.clear()")
        path.rename(path.with_name("away"))
    code = "db.put(b'key', b'new'); print(*db.scan())"
    assert elsewhere(path.with_name("away"), code) == "(b'key', b'new')"


@removals
def test_opened_again_beside_it_the_new_one_is_found(
    db: DB, path: Path, remove: Callable[[Path], None]
) -> None:
    db.put(b"key", b"old")
    remove(path)
    with stratakv.open(path, **OPTIONS) as again:
        assert again.in_place()
        assert again.get(b"key") is None
        again.put(b"key", b"new")
        assert db.get(b"key") == b"old"
        db.close()
        assert elsewhere(path, "print(db.get(b'key'))") == "b'new'"


def test_a_repair_writes_nothing_into_what_took_its_place(db: DB, path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir(0o700)
    with pytest.raises(RemovedError):
        db.verify(repair=True)
    assert not list(path.iterdir())


def test_another_file_system_may_have_the_same_numbers(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new tmpfs in place of the old one, where the same files are made in the same order."""
    found = (db.path / "CONTROL").stat()
    other = os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))
    monkeypatch.setattr(Files, "stat", lambda files, path: other)
    assert not db.in_place()


def watch_to_the_end(db: DB, **options: object) -> None:
    """Watch over the maintenance as a process does, until there is nothing to watch over any more.

    options: what a child would open the store with.
    """
    watch = keeper.Keeper(db._store.maintenance, db._store.directory, options)
    watch._news.set()
    thread = threading.Thread(target=watch._watch, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_nobody_is_started_for_the_maintenance_of_another_store(
    db: DB, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db)
    assert db._store.maintenance.due.is_due()
    remove_directory(path)
    elsewhere(path, "db.put(b'key', b'new')")
    monkeypatch.setattr(keeper, "_PATIENCE", 0.0)
    monkeypatch.setattr(Files, "start_python", lambda *arguments: pytest.fail("a child was started"))
    watch_to_the_end(db)


@removals
def test_a_child_that_does_the_maintenance_then_has_not_failed(
    path: Path,
    remove: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def start(files: Files, *arguments: str, errors: IO[bytes] | None = None) -> Popen[bytes]:
        remove(path)
        return start_python(files, *arguments, errors=errors)

    start_python = Files.start_python
    monkeypatch.setattr(Files, "start_python", start)
    monkeypatch.setattr(keeper, "_PATIENCE", 0.0)
    db = stratakv.open(path, max_bytes=2**20, **OPTIONS)
    fill(db)
    watch_to_the_end(db, create=False)
    assert not path.exists() or not list(path.iterdir())
    assert caplog.records == []


def test_a_thread_that_does_it_then_has_not_failed(
    db: DB, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may meet the missing directory before it looks whether that is there."""
    fill(db)
    remove_directory(path)
    watch_to_the_end(db)
    assert caplog.records == []
