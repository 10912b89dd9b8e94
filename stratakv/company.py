"""Which of the processes that need a sync at the same moment makes it for all of them, and when.

Each writes down in CONTROL which position it needs to be on disk. Each sync expects as many as shared the
last one, and those that came while it was running: the last of them to come makes it, the others sleep until
it has ended. Where fewer come, whoever has waited for a moment makes it. It is what `gathering` does for
threads, but here each may be killed at any time: so sync.lock decides, and no sleep is long. All words are
hints.
"""

from __future__ import annotations

from time import monotonic

from stratakv.control import W_EXPECTED, W_SYNCED, W_SYNCS, WANTED_WORDS, Control
from stratakv.files import Files
from stratakv.locks import FileLock

_PATIENCE = 0.5e-3  # seconds; a process that is woken has put again after half of it
_SLEEP = 1e-3  # seconds, while another process makes a sync: it may be killed before it wakes anybody


class Company:
    """The processes that wait for a sync, as one of them sees it."""

    def __init__(self, files: Files, control: Control) -> None:
        self._files = files
        self._words = control.words
        self._wanted = control.words[WANTED_WORDS.start : WANTED_WORDS.stop]
        self.begin_process()

    def begin_process(self) -> None:
        """Take a word, as a new process does. One that it shares with others counts for one of them."""
        self._own = self._files.process() % len(self._wanted)
        self._synced: int | None = None  # the position of before the sync that this process makes, if it does

    def leads(self, wanted: int, lock: FileLock) -> bool:
        """Take sync.lock, once all have come; return False where another process gets to `wanted` before."""
        words, files = self._words, self._files
        self._wanted[self._own] = wanted
        until = monotonic() + _PATIENCE
        while True:
            syncs = words[
                W_SYNCS
            ]  # IMPORTANT: first, else the sync that ends behind the next line wakes nobody
            synced, expected = words[W_SYNCED], words[W_EXPECTED]
            if synced >= wanted:
                return False
            if expected > 1 and self._wanting(synced) < expected and monotonic() < until:
                files.sleep_at(words, W_SYNCS, syncs, _PATIENCE)
                continue
            if lock.try_exclusive():
                self._synced = synced
                return True
            words[W_EXPECTED] = max(2, expected)  # so that whoever has the lock wakes others
            files.sleep_at(words, W_SYNCS, syncs, _SLEEP)

    def part(self) -> None:
        """Wake the others, now that sync.lock is free; nothing where it was not this process that led."""
        words = self._words
        if self._synced is not None and words[W_EXPECTED] > 1:
            words[W_EXPECTED] = self._wanting(self._synced)
            words[W_SYNCS] = (words[W_SYNCS] + 1) % 2**32
            self._files.wake_at(words, W_SYNCS)
        self._synced = None

    def _wanting(self, synced: int) -> int:
        """How many processes need, or needed, more than what is below `synced`."""
        return sum([wanted > synced for wanted in self._wanted.tolist()])
