"""The writer lock without a call to the kernel, for a process that has been writing alone (biased locking).

Two calls of `flock` are a quarter of a put. A process that has written many records with nobody else's
between writes the number of a word of its own to `bias`, in CONTROL. From then on it has the lock while that
word is set. Whoever comes next takes `flock` as ever, and then the bias from whoever has it:

    with the bias                            with `flock`
    1 set the own word                       1 mark `bias` as taken away
    2 is `bias` the word's number still?     2 a barrier on all processors
    3 commit                                 3 wait until the word is 0, or its process dead
    4 clear the own word                     4 clear `bias`; commit

A processor may load what it needs for a later step before others see its store of an earlier one. The kernel
makes all of them catch up (membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED): after the barrier, either the
word is seen to be set, or its owner sees that the bias is gone. So only who takes the bias pays for that.

A process's word has the place of the byte of `bias.lock` that it has locked. So no two have the same one, and
it can be told whether its process lives.
"""

from __future__ import annotations

import time

from stratakv.backoff import pauses
from stratakv.control import BIAS_WORDS, W_BIAS, W_LAST, Control
from stratakv.errors import ClosedError, reported
from stratakv.files import Files
from stratakv.interrupted import check_refused
from stratakv.locks import FileLock

# How many records a process must have written with nobody else's look between, and after how many it looks.
# Eight processes that share two processors hardly ever come to so many; if they looked each time, each of
# their commits would be longer by a twentieth.
_ENOUGH = 1000
LOOK = 256
_TAKEN_AWAY = 1 << 32  # added to `bias`, so that its owner finds another number than its own
_PAUSE, _LONGEST_PAUSE = 50e-6, 1e-3  # seconds


class Bias:
    """Who has the writer lock by a word, as one process sees it.

    word: the number of this process's word while it has the bias; 0 else.
    """

    def __init__(self, files: Files, lock: FileLock, control: Control) -> None:
        self._files = files
        self._words = control.words
        self.lock = lock
        self.begin_process()

    def begin_process(self) -> None:
        """Start without the bias, as a new process does."""
        self.word = 0
        # The number of this process's word, whether it has the bias or not; 0 where none is to be had.
        self._own: int | None = None
        self._process = self._files.random_u32()  # processes of two containers may have the same id
        self._alone_since = 0  # how many records it had written then

    def prepare(self, records: int) -> None:
        """Do before `flock` is taken what takes long of what `look` will do."""
        if self._words[W_BIAS]:
            self._files.prepare_barrier()
        elif records - self._alone_since >= _ENOUGH and self._own is None:
            self._own = self._claim()

    def look(self, records: int) -> None:
        """End the bias of another process, with `flock`; begin that of this one if it has long been alone.

        records: how many this process has written.
        """
        words = self._words
        if words[W_BIAS] != self.word:
            self._end()
        if words[W_LAST] != self._process:
            words[W_LAST], self._alone_since = self._process, records
        elif records - self._alone_since >= _ENOUGH and self._own:
            words[W_BIAS] = self.word = self._own

    def leave(self) -> None:
        """Give the bias up, with `flock`, so that nobody has to take it from a process that is gone."""
        if self._words[W_BIAS] == self.word:
            self._end()

    def _claim(self) -> int:
        """Get a word for this process; return its number, 0 where there is none or the store is closed."""
        files, fd = self._files, self.lock.fd
        try:
            if fd < 0 or not files.ORDERED or not files.join_barriers():
                return 0
            number = next((one for one in BIAS_WORDS if files.lock_byte(fd, one)), 0)
        except OSError as refusal:  # the file system has no such locks
            check_refused(refusal)
            return 0
        if number:
            self._words[number] = 0  # its last owner may have been killed inside
        return number

    def _end(self) -> None:
        """Take the bias from whoever has it, and wait until that process has left its commit.

        Whatever ends this early, a signal or the end of this process: whoever comes next does it again.
        Raises ClosedError where another thread closes the store meanwhile, and with it gives `flock` back.
        """
        words = self._words
        number = words[W_BIAS] % _TAKEN_AWAY
        words[W_BIAS] = number + _TAKEN_AWAY
        self._files.barrier()
        if number in BIAS_WORDS:  # else it is damaged
            pause = pauses(_PAUSE, _LONGEST_PAUSE)
            while words[number] == 1 and self._lives(number):
                time.sleep(next(pause))
            if self.lock.fd < 0:
                raise ClosedError(f"{self.lock.path.parent} was closed; open the store again")
            words[number] = 0
        words[W_BIAS] = self.word = 0

    def _lives(self, number: int) -> bool:
        """Whether the word belongs to another process, and that has not ended, as far as can be told now."""
        fd = self.lock.fd
        with reported(self.lock.path):
            return fd >= 0 and self._files.byte_is_locked(fd, number)
