"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest


def pytest_configure() -> None:
    """Take Ctrl-C, and let child processes take it, where tests were started in the background.

    A shell lets those ignore it, and their children with them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
