"""Which of the processes that need a sync at the same moment makes it for all of them, and when.

Each writes down in CONTROL which position it needs to be on disk. Where the last few syncs each had company,
of those that shared one or came while it was running, the next one expects as many: the last of them to come
makes it, the others sleep until it has ended. Where fewer come, whoever has waited for a moment makes it. It
is what `gathering` does for threads, but here each may be killed at any time: so sync.lock decides, and no
sleep is endless. All words are hints.
"""

from __future__ import annotations

from stratakv.backoff import pauses
from stratakv.control import W_ASLEEP, W_COUNTS, W_SYNCED, W_SYNCS, WANTED_WORDS, Control
from stratakv.files import Files
from stratakv.locks import FileLock

_PATIENCE = 0.5e-3  # seconds; a process that is woken has put again after half of it
# Seconds, at first and at most, while another process makes a sync: it may be killed before it wakes others.
_SLEEP, _LONGEST_SLEEP = 1e-3, 50e-3
_COUNTS = 8  # syncs: who comes now and then must not be waited for by who writes all the time


class Company:
    """The processes that wait for a sync, as one of them sees it."""

    def __init__(self, files: Files, control: Control) -> None:
        self._files = files
        self._words = control.words
        self._wanted = control.words[WANTED_WORDS.start : WANTED_WORDS.stop]
        self.begin_process()

    def begin_process(self) -> None:
        """Take a word by chance, as a new process does. Two that have taken the same one count as one."""
        self._own = self._files.random_u32() % len(self._wanted)
        self._synced: int | None = None  # the position of before the sync that this process makes, if it does

    def leads(self, wanted: int, lock: FileLock) -> bool:
        """Take sync.lock, once all have come; return False where another process gets to `wanted` before."""
        words = self._words
        self._wanted[self._own] = wanted
        patient, pause = True, pauses(_SLEEP, _LONGEST_SLEEP)
        while True:
            # IMPORTANT: first; else a sync that ends before the next line has woken others, but not this one.
            syncs = words[W_SYNCS]
            synced = words[W_SYNCED]
            if synced >= wanted:
                return False
            expected = min(words[W_COUNTS].to_bytes(_COUNTS, "little"))
            waits = patient and expected > 1 and self._wanting(synced) < expected
            if not waits and lock.try_exclusive():
                self._synced = synced
                return True
            if not words[W_ASLEEP]:
                words[W_ASLEEP] = 1  # whoever ends a sync from here on wakes others
                continue
            self._files.sleep_at(words, W_SYNCS, syncs, _PATIENCE if waits else next(pause))
            patient = words[W_SYNCS] != syncs  # not by a clock, which a test may have stopped

    def part(self) -> None:
        """Wake the others, now that sync.lock is free; nothing where it was not this process that led."""
        if self._synced is None:
            return
        words, synced, self._synced = self._words, self._synced, None
        asleep = words[W_ASLEEP]
        count = self._wanting(synced) if asleep else 1
        words[W_COUNTS] = (words[W_COUNTS] << 8 | count) % 2**64
        if asleep:
            words[W_ASLEEP] = 0
            words[W_SYNCS] = (words[W_SYNCS] + 1) % 2**32
            self._files.wake_at(words, W_SYNCS)

    def _wanting(self, synced: int) -> int:
        """How many processes need, or needed, more than what is below `synced`."""
        return sum([wanted > synced for wanted in self._wanted.tolist()])
