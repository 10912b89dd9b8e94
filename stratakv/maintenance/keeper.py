"""Seeing to it that somebody does the maintenance: a thread that starts a child when there is work.

The child is a program of its own (`stratakv.keep`), so that its work takes nothing from the threads that
read and write here. Each process that writes watches; the child of any of them will do, and when it is
killed, whoever next finds work starts another. It ends when there is no work, and with the process that
started it. Where no child can be started, the thread does the work itself.

A child has a lower priority than those who serve. Where these never pause it may get too little to keep up,
and each segment makes lookups longer; so one that falls behind is replaced by one that takes its turn as
they do.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from stratakv.directory import Directory
from stratakv.errors import RemovedError, StrataKVError
from stratakv.maintenance.early_end import StoppedError
from stratakv.maintenance.work import Maintenance

if TYPE_CHECKING:
    from subprocess import Popen

logger = logging.getLogger("stratakv")

# Seconds between seeing work that another process may have begun already and doing something about it.
_PATIENCE = 0.5
_LONGEST_PATIENCE = 60.0
_LONGEST_WAIT = 60.0  # also until a process that is idle lets go of the files that others have removed
_REST = 60.0  # seconds until a child is tried again, after one that could not do the work
DAMAGED = 3  # the status of a child that has met a damaged log, and done all the rest
_PAUSE = 5.0  # seconds until the thread looks again, after something has failed
_YIELD = 0.002  # seconds that a thread at work leaves to the others after each block
_LOOK = 1.0  # seconds between two looks whether a child keeps up
URGENT = "urgent"  # tells a child not to have a lower priority


class Keeper:
    """The watch of one process over one store. options: what the child opens the store with."""

    def __init__(self, maintenance: Maintenance, directory: Directory, options: Mapping[str, object]) -> None:
        self._maintenance = maintenance
        self._directory = directory
        self._path = directory.path
        self._options = options
        self.begin_process()

    def begin_process(self) -> None:
        """Start with neither thread nor child, as a new process does."""
        self._starting = threading.Lock()
        self._news = threading.Event()
        self._ending = False
        self._stopping = threading.Event()
        self._patience = _PATIENCE
        self._thread: threading.Thread | None = None
        self._child: Popen[bytes] | None = None
        self._next_child = 0.0

    def wake(self) -> None:
        """Say that there may be work; returns at once."""
        self._news.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._ending:  # pragma: no branch: a race of two writers
                    thread = threading.Thread(target=self._watch, name="stratakv-keeper", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:  # too many threads, or the interpreter is about to end
                        logger.warning("%s: nobody watches over maintenance here", self._path, exc_info=True)
                        return
                    self._thread = thread

    def stop(self) -> None:
        """End the child and the thread; what they were doing is done by somebody else later."""
        with self._starting:
            self._ending = True
        self._stopping.set()
        self._news.set()
        child = self._child
        if child is not None:
            child.kill()  # it may have inherited that a gentler signal is ignored, and needs no time to end
        if self._thread is not None:
            self._thread.join()
        self.begin_process()

    def _watch(self) -> None:
        self._directory.files.leave_signals()
        while not self._ending:
            try:
                left = self._maintenance.due.seconds_left()
                self._news.wait(_LONGEST_WAIT if left is None else min(left + 0.001, _LONGEST_WAIT))
                self._news.clear()
                self._see_to_it()
            except StoppedError:
                return
            except RemovedError:  # all is still due here, and a child would look after what is there now
                return
            except Exception:  # whatever it was, the next segment must be looked after
                if not self._maintenance.in_place():  # it was that, met by the name of a file
                    return
                logger.exception("%s: maintenance failed", self._path)
                # Even to look what is due may fail, for as long as no file can be opened, say.
                self._stopping.wait(_PAUSE)

    def _see_to_it(self) -> None:
        """Return once there is nothing to do; start a child while nobody else does it."""
        while not self._ending and self._maintenance.due.next_task() is not None:
            self._stopping.wait(self._patience)
            self._news.clear()
            if self._ending or self._maintenance.due.next_task() is None or not self._maintenance.is_free():
                continue
            if not self._ran_in_child():
                self._maintenance.run(0.0, self._yield)

    def _ran_in_child(self) -> bool:
        """Run a child until it ends; return whether it could do the work."""
        if time.monotonic() < self._next_child:
            return False
        try:
            status, reason = self._run_child()
        except OSError:
            logger.warning(
                "%s: no maintenance process could be started; a thread does it", self._path, exc_info=True
            )
            self._next_child = time.monotonic() + _REST
            return False
        if status == 0:
            self._patience = _PATIENCE
        elif status < 0 and not self._ending:
            # Killed, and perhaps always will be: for want of memory, or by a bad sector.
            self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
            logger.warning("%s: the maintenance process was ended by signal %d", self._path, -status)
            if status == -signal.SIGSYS:  # a filter of system calls forbids what only the child asks for
                self._next_child = time.monotonic() + _REST
                return False
        elif status > 0 and not self._ending and self._maintenance.in_place():  # else it could not but fail
            logger.warning(
                "%s: the maintenance process failed with status %d: %s", self._path, status, reason
            )
            if status == DAMAGED:  # it has done the rest, and this process has to learn what is damaged
                self._maintenance.step(self._yield)
                return True
            self._next_child = time.monotonic() + _REST
        return status <= 0  # one that was killed may be started again

    def _run_child(self) -> tuple[int, str]:
        """Return the status with which a child has ended, and the last line of its errors."""
        files = self._directory.files
        errors = files.memory_file()
        with errors or nullcontext():
            with self._starting:
                if self._ending:
                    raise StoppedError  # pragma: no cover: it was closed within the last microseconds
                urgent = self._is_behind()
                arguments = [str(self._path), json.dumps(self._options), *[URGENT] * urgent]
                self._child = files.start_python("stratakv.keep", *arguments, errors=errors)
            status = self._status_of(self._child, urgent)
            self._child = None
            if errors is None:
                return status, "no more is known"
            errors.seek(0)
            lines = errors.read().decode(errors="replace").splitlines()
        return status, lines[-1] if lines else ""

    def _status_of(self, child: Popen[bytes], urgent: bool) -> int:
        """Wait until a child has ended. One that falls behind is ended, unless it is urgent already."""
        while (status := self._directory.files.status_of(child, _LOOK)) is None:
            if not urgent and self._is_behind():
                child.kill()
                child.wait()
                return 0
        return status

    def _is_behind(self) -> bool:
        with suppress(StrataKVError, OSError):  # whatever it is, a child meets it as well
            return self._maintenance.due.is_behind()
        return False

    def _yield(self, _read: int) -> None:
        """Leave the interpreter to the threads that serve, as a child would."""
        if self._ending:
            raise StoppedError
        self._stopping.wait(_YIELD)
