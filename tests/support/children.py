"""Forked children for tests: each runs one function and ends without the parent's clean-up."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

fork_in_c: Callable[[], int] = ctypes.PyDLL(
    None
).fork  # as uWSGI makes its workers: Python hears nothing of it


class Child:
    """A forked process that runs `work` and exits 0, or 1 with a traceback on stderr."""

    def __init__(self, work: Callable[[], None], fork: Callable[[], int] = os.fork) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = fork()
        if self.pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        self.status: int | None = None

    def kill(self) -> None:
        """End the child at once, as the kernel's out-of-memory killer would."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Return the exit status; negative where a signal ended the child."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def running(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None


def run(*works: Callable[[], None], fork: Callable[[], int] = os.fork) -> list[int]:
    """Run each function in a child of its own, all at once, and return their exit statuses."""
    children = [Child(work, fork) for work in works]
    return [child.wait() for child in children]
