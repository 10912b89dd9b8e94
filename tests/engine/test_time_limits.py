"""What a signal handler raises is no answer of the kernel's, though a TimeoutError is an OSError, too."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import stratakv
from stratakv import DB
from stratakv.errors import reported, storage_error
from stratakv.interrupted import check_refused, unless_refused
from tests.engine.machine import Machine, open_in

Open = Callable[..., DB]


def write(db: DB) -> None:
    db.put(b"a", b"1" * 3000)
    db.put_many({b"b": b"2", b"c": b"3"})
    db.incr(b"n")
    db.delete(b"a")
    with db.transaction() as tx:
        tx.put(b"t", b"4" * 3000)
    db.delete_prefix(b"b")
    db.put(b"d", b"5" * 6000)
    db.sync()


def tidy_up(db: DB) -> None:
    db.put(b"d", b"5" * 6000)
    db.maintain()
    db.compact()


def restore(db: DB) -> None:
    (db.path / "FORMAT").write_bytes(b"damaged")
    db.verify(repair=True)


@pytest.mark.parametrize("work", [write, tidy_up, restore], ids=lambda work: work.__name__)
def test_a_time_limit_leaves_as_itself(
    machine: Machine, open_: Open, path: Path, work: Callable[[DB], None]
) -> None:
    """At each call of the kernel that changes anything: it is never let pass, and poisons no log."""
    db = open_(durability="always", maintenance="manual", segment_bytes=8192)
    work(db)
    for moment in count():
        raised = limit(machine, moment)
        if not is_limited(lambda: work(db), raised):
            break
        machine.refuse = lambda name, path: None
        db.verify(repair=True)
        db.sync()
        assert not any(entry.poisoned for entry in db._store.structure.current().manifest.segments)
        db.put(b"after", b"v")
        assert db.get(b"after") == b"v"
    assert moment > 5
    assert db.verify(repair=True).damage == ()


def test_opening(machine: Machine, open_: Open, path: Path) -> None:
    for moment in count():
        raised = limit(machine, moment)
        if not is_limited(open_, raised):
            break
        machine.refuse = lambda name, path: None
    assert moment > 5
    db = open_()
    db.put(b"k", b"v")
    assert db.get(b"k") == b"v"


@pytest.mark.parametrize("work", [DB.compact, lambda db: db.backup(db.path.with_name("copy"))])
def test_nothing_of_it_is_left_for_the_collector(
    machine: Machine, open_: Open, path: Path, work: Callable[[DB], object]
) -> None:
    """As long as the error is in a cycle with what was being done, the files of that stay open."""

    def refuse(name: str, path: Path) -> None:
        if name == "fdatasync":
            raise TimeoutError

    db = open_(maintenance="manual")
    db.put(b"k", b"v")
    gc.collect()
    gc.disable()
    try:
        machine.refuse = refuse
        with pytest.raises(TimeoutError):
            work(db)
        machine.refuse = lambda name, path: None
        db.close()
        del db
        assert open_in(path) == []
    finally:
        gc.enable()


class LimitError(TimeoutError):
    """One that can be looked at from outside."""


def raise_inside(block: AbstractContextManager[object], errors: list[LimitError]) -> None:
    with block:
        raise errors.pop()


@pytest.mark.parametrize(
    "let_pass",
    [
        lambda errors: check_refused(errors.pop()),
        lambda errors: storage_error("store", errors.pop()),
        lambda errors: raise_inside(reported("store"), errors),
        lambda errors: raise_inside(unless_refused(), errors),
    ],
    ids=["check_refused", "storage_error", "reported", "unless_refused"],
)
def test_what_is_let_pass_is_in_no_cycle(let_pass: Callable[[list[LimitError]], object]) -> None:
    errors = [LimitError()]
    known = weakref.ref(errors[0])
    gc.disable()
    try:
        with suppress(LimitError):
            let_pass(errors)
        assert known() is None
    finally:
        gc.enable()


def limit(machine: Machine, moment: int) -> list[Any]:
    """Let TimeoutError be raised at the call after so many; what is returned says at which one it was."""
    raised: list[Any] = []
    left = iter(range(moment))

    def refuse(name: str, path: Path) -> None:
        if next(left, None) is None and not raised:
            raised.append((name, path.name))
            raise TimeoutError("too slow")

    machine.refuse = refuse
    return raised


def is_limited(work: Callable[[], object], raised: list[Any]) -> bool:
    """Return whether `work` ended with what was raised, and not with anything else."""
    try:
        work()
    except Exception as error:
        if type(error) is not TimeoutError:
            raise AssertionError(f"in place of what was raised at {raised}") from error
        return True
    assert not raised, f"let pass at {raised}"
    return False


def test_what_the_kernel_says_is_its_answer(machine: Machine, open_: Open) -> None:
    db = open_(durability="always")

    def refuse(name: str, path: Path) -> None:
        if name == "fdatasync" and path.suffix == ".log":
            raise TimeoutError(110, "Connection timed out")  # of a disk that is reached through a network

    machine.refuse = refuse
    with pytest.raises(stratakv.SyncError, match="timed out"):
        db.put(b"k", b"v")
