"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Take Ctrl-C, and let child processes take it, where tests were started in the background.

    A shell lets those ignore it, and their children with them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
