"""Which of several processes syncs for all: the last of those expected, or who has waited for a moment."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratakv import processes
from stratakv.company import Company
from stratakv.control import W_COUNTS, W_SYNCED, W_SYNCS, Control
from stratakv.directory import Directory
from stratakv.files import Files
from stratakv.locks import FileLock
from tests.engine.machine import in_time
from tests.support.children import Child


class Sleeper(Files):
    """The door of one of several processes. While it sleeps, `meanwhile` happens."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.slept: list[float] = []
        self.woken = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def random_u32(self) -> int:
        return self._process

    def sleep_at(self, words: memoryview, word: int, value: int, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(seconds / 10)
        self.meanwhile()

    def wake_at(self, words: memoryview, word: int) -> None:
        self.woken += 1


class Process:
    """One of them, with a descriptor of sync.lock of its own."""

    def __init__(self, control: Control, directory: Directory, number: int) -> None:
        self.files = Sleeper(number)
        self.words = control.words
        self.company = Company(self.files, control)
        self.lock = FileLock(directory, "sync.lock", write=True)

    def leads(self, wanted: int) -> bool:
        return self.company.leads(wanted, self.lock)

    def end(self, synced: int | None = None) -> None:
        """End what was begun by `leads`, a sync of all below `synced` or nothing."""
        if synced is not None:
            self.words[W_SYNCED] = synced
        self.lock.release()
        self.company.part()

    def sync(self, wanted: int) -> None:
        assert self.leads(wanted)
        self.end(wanted)


@pytest.fixture
def words(db: Any) -> Any:
    words = db._store.control.words
    words[W_SYNCED] = 100
    return words


@pytest.fixture
def make(db: Any, words: Any) -> Callable[[int], Process]:
    return lambda number: Process(db._store.control, db._store.directory, number)


def expect(words: Any, count: int) -> None:
    """Let the last syncs have had so much company."""
    words[W_COUNTS] = int.from_bytes(bytes([count]) * 8, "little")


def last_count(words: Any) -> int:
    return int(words[W_COUNTS]) & 0xFF


def test_who_is_alone_syncs_at_once_and_wakes_nobody(make: Any) -> None:
    process = make(1)
    process.sync(200)
    process.sync(300)
    assert process.files.slept == []
    assert process.files.woken == 0


def test_what_is_synced_already_needs_no_sync(make: Any) -> None:
    process = make(1)
    assert not process.leads(100)
    process.end()


def test_who_comes_while_another_one_syncs_sleeps_until_it_has_ended(make: Any, words: Any) -> None:
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = lambda: one.end(300)
    assert not two.leads(250), "its commit was covered"
    assert len(two.files.slept) == 1
    assert one.files.woken == 1


def test_a_sync_that_ends_just_when_its_lock_is_found_taken(make: Any, words: Any) -> None:
    """Whoever made it has seen nobody who sleeps."""
    one, two = make(1), make(2)
    assert one.leads(200)

    class Late:
        def try_exclusive(self) -> bool:
            one.end(300)
            return False

    two.lock = Late()
    assert not two.leads(250)
    assert two.files.slept == []


def test_who_was_not_covered_makes_the_next_one(make: Any, words: Any) -> None:
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = lambda: one.end(200) if words[W_SYNCED] < 200 else None
    assert two.leads(250)


def test_the_last_of_those_expected_does_not_wait(make: Any, words: Any) -> None:
    one, two, three = make(1), make(2), make(3)
    expect(words, 3)
    led: list[bool] = []

    def come(process: Process, wanted: int) -> None:
        led.append(process.leads(wanted))
        process.end(wanted)

    two.files.meanwhile = lambda: come(three, 400)
    one.files.meanwhile = lambda: come(two, 300)
    come(one, 200)
    assert led == [True, False, False], "the last one first, then those that it woke"
    assert three.files.slept == []
    assert last_count(words) == 3


def test_who_has_waited_for_a_moment_goes_without_the_others(make: Any, words: Any) -> None:
    process = make(1)
    expect(words, 3)
    with in_time():
        process.sync(200)
    assert process.files.slept
    process.files.slept.clear()
    process.sync(300)
    assert process.files.slept == [], "nobody is waited for twice"


def test_a_moment_is_counted_anew_from_each_sync(make: Any, words: Any) -> None:
    """Else whoever was woken by a long one would go without those that it has covered."""
    one, two, three = make(1), make(2), make(3)
    expect(words, 3)
    assert one.leads(200)
    happens = iter([lambda: one.end(200), lambda: three.leads(400), lambda: three.end(400)])
    two.files.meanwhile = lambda: next(happens)()
    assert not two.leads(300)
    assert two.files.slept[0] == two.files.slept[1] < two.files.slept[2], "for company, twice; for the sync"


def come_and_go(process: Process, wanted: int) -> None:
    """Begin to wait, and be interrupted."""

    def interrupt() -> None:
        raise InterruptedError

    process.files.meanwhile = interrupt
    with pytest.raises(InterruptedError):
        process.leads(wanted)


def test_those_that_came_too_late_are_counted(make: Any, words: Any) -> None:
    one, two, three = make(1), make(2), make(3)
    assert one.leads(200)
    come_and_go(two, 300)
    come_and_go(three, 301)
    one.end(200)
    assert last_count(words) == 3


def test_company_is_expected_once_it_is_usual(make: Any, words: Any) -> None:
    """Who comes now and then is not waited for by who writes all the time."""
    one, two = make(1), make(2)
    for wanted in range(201, 209):
        assert one.leads(wanted)
        assert one.files.slept == []
        come_and_go(two, wanted)
        one.end(wanted)
    one.sync(300)
    assert one.files.slept
    one.files.slept.clear()
    one.sync(400)
    assert one.files.slept == []


def test_a_failed_sync_wakes_the_others_too(make: Any, words: Any) -> None:
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = one.end
    assert two.leads(200), "it must find out for itself"
    assert one.files.woken == 1


def test_who_did_not_lead_wakes_nobody(make: Any, words: Any) -> None:
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = lambda: one.end(200)
    assert not two.leads(200)
    two.company.part()
    assert two.files.woken == 0


def test_a_process_that_was_killed_in_its_sync_keeps_nobody_waiting(make: Any, words: Any) -> None:
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = one.lock.close
    assert two.leads(200)


def test_nobody_sleeps_for_long_however_long_a_sync_takes(make: Any, words: Any) -> None:
    """From a second on, the kernel would refuse, and whoever waits would go on looking."""
    one, two = make(1), make(2)
    assert one.leads(200)
    two.files.meanwhile = lambda: one.end(200) if len(two.files.slept) == 40 else None
    assert not two.leads(200)
    assert two.files.slept[0] < two.files.slept[-1] < 0.1


def test_processes_that_share_a_word_do_not_wait_for_ever(make: Any, words: Any) -> None:
    one, two = make(1), make(65)
    expect(words, 2)
    one.files.meanwhile = lambda: two.sync(300) if words[W_SYNCED] == 100 else None
    with in_time():
        assert not one.leads(200)


@pytest.fixture
def page(tmp_path: Path) -> memoryview:
    (tmp_path / "page").write_bytes(bytes(4096))
    with (tmp_path / "page").open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")


class TestSleeping:
    """The real kernel."""

    LONG = 0.9

    def test_a_process_is_woken_by_another_one(self, page: memoryview) -> None:
        def wake() -> None:
            time.sleep(0.05)
            page[W_SYNCS] = 1
            Files().wake_at(page, W_SYNCS)

        child = Child(wake)
        while not page[W_SYNCS]:
            begun = time.monotonic()
            Files().sleep_at(page, W_SYNCS, 0, self.LONG)
        assert time.monotonic() - begun < self.LONG
        assert child.wait() == 0

    def test_a_word_that_has_changed_already_is_not_slept_at(self, page: memoryview) -> None:
        page[W_SYNCS] = 2
        begun = time.monotonic()
        Files().sleep_at(page, W_SYNCS, 1, self.LONG)
        assert time.monotonic() - begun < self.LONG

    def test_it_ends_by_itself(self, page: memoryview) -> None:
        begun = time.monotonic()
        Files().sleep_at(page, W_SYNCS, 0, 0.02)
        assert time.monotonic() - begun >= 0.02

    def test_where_nobody_can_be_woken_it_is_short(
        self, page: memoryview, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "_system_call", lambda: None)
        begun = time.monotonic()
        Files().sleep_at(page, W_SYNCS, 0, self.LONG)
        Files().wake_at(page, W_SYNCS)
        assert time.monotonic() - begun < self.LONG

    def test_greenlets_go_on_meanwhile(self, page: memoryview, monkeypatch: pytest.MonkeyPatch) -> None:
        """gevent puts a function of its own in the place of `time.sleep`."""
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(time, "sleep", sleep)
        Files().sleep_at(page, W_SYNCS, 0, self.LONG)
        assert len(slept) == 1
        assert 0 < slept[0] < self.LONG

    def test_a_kernel_that_refuses_is_not_asked_without_end(
        self, page: memoryview, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "_FUTEX", 100_000)  # no such system call
        begun = time.monotonic()
        Files().sleep_at(page, W_SYNCS, 0, self.LONG)
        assert processes._LOOK <= time.monotonic() - begun < self.LONG
