"""Compaction behind the requests, with a store whose compaction waits for the test."""

import logging
import threading
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the package starlette (extra stratakv[server])")

from stratakv.server.compaction import BackgroundCompaction


class WaitingStore:
    """Counts its compactions; each waits for `go_on` and reports progress until then."""

    path = Path("waiting")

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.ended = []

    def compact(self, progress):
        """Wait, as a long compaction does."""
        self.begun.release()
        try:
            while not self.go_on.acquire(timeout=0.005):
                progress(1, 2)
            self.ended.append("done")
        except BaseException:
            self.ended.append("given up")
            raise


@pytest.fixture
def db():
    """A store with a compaction that waits."""
    return WaitingStore()


def test_triggers_during_a_compaction_make_one_more(db):
    compaction = BackgroundCompaction(db)
    compaction.trigger()
    assert db.begun.acquire(timeout=30)
    for _ in range(3):
        compaction.trigger()
    db.go_on.release(2)
    assert db.begun.acquire(timeout=30)
    compaction.stop()
    assert db.ended[0] == "done"
    assert len(db.ended) == 2


def test_stop_gives_a_running_compaction_up(db):
    compaction = BackgroundCompaction(db)
    compaction.trigger()
    assert db.begun.acquire(timeout=30)
    compaction.stop()
    assert db.ended == ["given up"]


def test_one_that_was_stopped_can_start_again(db):
    compaction = BackgroundCompaction(db)
    compaction.stop()
    compaction.start()
    compaction.trigger()
    assert db.begun.acquire(timeout=30)
    compaction.stop()


def test_where_no_thread_could_be_started_the_next_trigger_tries_again(db, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    compaction = BackgroundCompaction(db)
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            compaction.trigger()
    compaction.stop()
    compaction.start()
    compaction.trigger()
    assert db.begun.acquire(timeout=30)
    compaction.stop()


def test_a_failed_compaction_is_logged_and_the_next_one_runs(db, monkeypatch):
    failed = threading.Event()
    monkeypatch.setattr(logging.getLogger("stratakv.server"), "exception", lambda *_: failed.set())
    compaction = BackgroundCompaction(db)
    with monkeypatch.context() as broken:
        broken.setattr(db, "compact", None)
        compaction.trigger()
        assert failed.wait(30)
    compaction.trigger()
    assert db.begun.acquire(timeout=30)
    compaction.stop()
