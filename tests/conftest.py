"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from stratakv.processes import allow_all_descriptors


def pytest_configure() -> None:
    """Make it the same wherever tests are started.

    A shell lets those in the background ignore Ctrl-C, and their children with them. Most machines allow a
    process 1,024 descriptors; tests that let stores die have 700 open until the garbage is collected.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    allow_all_descriptors()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one more than there are processors: a quarter of the time, tests wait for disks and processes."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was tried, in all, by the tests that record it."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.getreports(""):  # of setups and teardowns
        if report.when == "teardown":
            tried.update(dict(report.user_properties))
    if tried:
        terminalreporter.write_line(
            "tried: " + ", ".join(f"{count:,} {what}" for what, count in tried.items())
        )
