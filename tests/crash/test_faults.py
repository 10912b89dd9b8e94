"""Let each call to the kernel fail once, with each error: nothing acknowledged is lost, and work goes on.

A workload is counted once. Then it is done again for each of its calls, which answers with an error or has
done half of what was asked. An operation may fail then, and say so; what it would have written may be
there or not. All others must succeed, and all of the store must be there afterwards: in the same process,
for the next one, and after a crash of the machine as far as it was promised.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest

import stratakv
from tests.crash.test_crash_points import CACHE, STORE, base, disk_at, empty, place, settings
from tests.crash.work import KEYS, Content, Judge, Run, Setting, machine
from tests.support.crash_files import CrashFiles, Fault, Image, everything, nothing, write_image

__all__ = ["Attempt", "one", "place"]

FULL = (Fault(errno.ENOSPC), Fault(errno.EDQUOT))  # two names for one thing: each call answers one of them
FAULTS = (Fault(errno.EIO), Fault(errno.EINTR), Fault(0))
WORK = {
    STORE: "put batch rotate delete maintain put merge sync put close clear put",
    CACHE: "put batch rotate put maintain rotate evict delete close evict put",
}
_HANG = 60  # seconds that nothing here takes
WRITES = {"put": b"a", "delete": b"a", "batch": b"abc", "clear": b"abc"}


Kept = dict[bytes, set[bytes | None]]


class Attempt:
    """One run of the workload.

    kept: for each key what a crash of the machine may leave of it. next: where the trace was when something
    was written for the first time after the refusal, and what was to be kept then.
    """

    def __init__(self, place: Path, setting: Setting, before: Image, faults: dict[int, Fault]) -> None:
        path = empty(place)
        path.rmdir()
        write_image(before, path)
        self.files = CrashFiles(path)
        self.files.faults = faults
        self.setting = setting
        self.refused: list[Exception] = []
        self.next: tuple[int, Kept] | None = None
        self.run = self._start(path)
        self.kept: Kept = {key: {self.content.get(key)} for key in KEYS}

    @property
    def content(self) -> Content:
        return self.run.states[-1]

    def _start(self, path: Path) -> Run:
        try:
            return Run(path, self.setting, self.files)
        except stratakv.StrataKVError as error:
            self.refused.append(error)
        return Run(path, self.setting, self.files)

    def work(self) -> None:
        for operation in WORK[self.setting].split():
            before = self.content
            try:
                self.run.do(operation)
                acknowledged = True
            except stratakv.StrataKVError as error:
                self.refused.append(error)
                acknowledged = False
            self.account(operation, before, acknowledged)

    def account(self, operation: str, before: Content, acknowledged: bool) -> None:
        """Compare what is there with what may be, and note what a crash may leave of it."""
        expected = self.content
        self.run.version += not acknowledged  # its value may be there
        if operation == "close" and not acknowledged:
            self.reopen()
        found = self.found(settled=not acknowledged)
        if acknowledged:
            assert found == expected, operation
        elif operation == "evict":
            assert found.items() <= before.items()
        else:
            assert found in (before, expected), operation
        self.run.states[-1] = found
        for key in KEYS:
            self.keep(key, operation, acknowledged, {before.get(key), expected.get(key), found.get(key)})
        if self.refused and acknowledged and operation in WRITES and not self.next:
            self.next = len(self.files.trace), deepcopy(self.kept)

    def keep(self, key: bytes, operation: str, acknowledged: bool, values: set[bytes | None]) -> None:
        final = acknowledged and self.run.promised[-1]
        if final and (operation == "sync" or key in WRITES.get(operation, b"")):
            self.kept[key] = {self.content.get(key)}
        else:
            self.kept[key] |= values

    def reopen(self) -> None:
        with machine(self.files):
            self.run.db = self.setting.open(self.run.root)

    def found(self, *, settled: bool) -> Content:
        """Return what is there. settled: as the next one to write makes sure of what is half done."""
        self.files.quiet = True
        with machine(self.files):
            if settled:
                with self.run.db._store.committer.hold():
                    pass
            found = dict(self.run.db.scan())
            assert {key: self.run.db.get(key) for key in KEYS} == {key: found.get(key) for key in KEYS}
        self.files.quiet = False
        return found


@pytest.fixture
def alarm() -> Iterator[None]:
    """Let a signal end what hangs."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"nothing has moved for {_HANG} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


@settings
@pytest.mark.usefixtures("alarm")
def test_each_call_fails_once(
    setting: Setting, place: Path, record_property: Callable[[str, object], None]
) -> None:
    before = base(place, setting)
    rehearsal = Attempt(place, setting, before, {})
    rehearsal.work()
    rehearsal.run.end()
    assert not rehearsal.refused
    judge = Judge(place / "faults")
    judge.place.mkdir(exist_ok=True)
    refused = 0
    for number, name in enumerate(rehearsal.files.calls, 1):
        for fault in (FULL[number % 2], *FAULTS):
            if fault.error or name in ("pread", "pwrite"):
                try:
                    signal.alarm(_HANG)
                    refused += one(place, setting, before, number, fault, judge)
                except BaseException as error:
                    error.add_note(f"call {number} of {setting}: {name} answered {fault}")
                    raise
                finally:
                    signal.alarm(0)
    record_property("calls", len(rehearsal.files.calls))
    record_property("operations refused", refused)


def one(place: Path, setting: Setting, before: Image, number: int, fault: Fault, judge: Judge) -> int:
    attempt = Attempt(place, setting, before, {number: fault})
    attempt.work()
    assert len(attempt.refused) <= 1
    attempt.run.end()
    content, files = attempt.content, attempt.files
    # The next process finds all of it, and a crash of the machine leaves what was promised.
    assert judge.content(files.now(), setting, boot=1) == content
    # The last step of all is none of the store's.
    for position, kept in filter(None, (attempt.next, (len(files.trace) - 1, attempt.kept))):
        disk = disk_at(attempt.run, position)
        for keep in (nothing, everything):
            left = judge.content(disk.after(keep), setting, boot=2)
            for key in KEYS:
                assert left.get(key) in kept[key], (key, left.get(key), kept[key])
    return len(attempt.refused)
