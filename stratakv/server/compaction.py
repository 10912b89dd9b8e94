"""Compaction behind the requests: triggered at once, done in a thread, stopped with the server."""

import logging
import threading

import stratakv

logger = logging.getLogger("stratakv.server")


class _StoppedError(Exception):
    """The server ends; a compaction given up half-way has changed nothing."""


class BackgroundCompaction:
    """Compacts `db` once after each trigger; triggers during a compaction make one more, not many."""

    def __init__(self, db: stratakv.DB) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._wanted = False  # under _lock
        self._thread: threading.Thread | None = None  # under _lock
        self._stopping = threading.Event()

    def start(self) -> None:
        """Do what is asked for from now on, also after a `stop`."""
        self._stopping.clear()

    def trigger(self) -> None:
        """Ask for a compaction that sees everything written until now; returns at once."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="stratakv compaction")
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Give up a running compaction and wait until its thread is gone."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while self._take():
            try:
                self._db.compact(progress=self._stop_when_asked)
            except _StoppedError:
                pass
            except Exception:
                logger.exception("compaction of %s failed", self._db.path)

    def _take(self) -> bool:
        """Whether there is another round to do; if not, the next trigger starts a new thread."""
        with self._lock:
            wanted, self._wanted = self._wanted and not self._stopping.is_set(), False
            if not wanted:
                self._thread = None
            return wanted

    def _stop_when_asked(self, _done: int, _total: int) -> None:
        if self._stopping.is_set():
            raise _StoppedError
