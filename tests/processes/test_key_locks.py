"""Locks on keys among real processes: nobody is let in beside a holder, and a dead one holds nobody up."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import stratakv
from tests.support.children import Child, run


def test_work_of_processes_never_overlaps(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    db = stratakv.open(tmp_path / "s", durability="os")

    def count() -> None:
        for _ in range(100):
            with db.lock(b"counter"):
                counter.write_text(str(int(counter.read_text()) + 1))

    assert run(count, count, count) == [0, 0, 0]
    count()
    assert counter.read_text() == "400"


def hold(path: Path, told: int) -> None:
    """Take the lock, say so, and never give it back."""
    db = stratakv.open(path, durability="os")
    lock = db.lock(b"page")
    lock.acquire()
    os.write(told, b".")
    time.sleep(600)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", durability="os")
    heard, told = os.pipe()
    holder = Child(lambda: hold(tmp_path / "s", told))
    os.read(heard, 1)
    assert not db.lock(b"page").acquire(blocking=False)
    holder.kill()
    with db.lock(b"page") as lock:
        assert lock.locked()


def test_a_child_of_a_killed_process_keeps_nothing(tmp_path: Path) -> None:
    db = stratakv.open(tmp_path / "s", durability="os")
    heard, told = os.pipe()

    def parent() -> None:
        lock = db.lock(b"page")
        lock.acquire()
        child = os.fork()
        if child:
            os.write(told, child.to_bytes(4, "little"))
        time.sleep(600)

    holder = Child(parent)
    orphan = int.from_bytes(os.read(heard, 4), "little")
    try:
        assert db.lock(b"page").locked()
        holder.kill()
        lock = db.lock(b"page")
        assert lock.acquire(timeout=20)  # once the child has run what follows a fork
        lock.release()
    finally:
        os.kill(orphan, signal.SIGKILL)
