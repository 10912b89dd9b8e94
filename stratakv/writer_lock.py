"""The writer lock: one process at a time writes, and before it does, mends what the last one left.

The lock is `flock` on writer.lock, or for a process that has been writing alone a word of its own (`bias`).

`busy` is 1 while a process is at it. Whoever takes the lock and finds it so knows that the last holder
died, or gave up, somewhere inside, and heals first: what stands behind the tip is cut off, and what the
index lacks is entered.
"""

from __future__ import annotations

import _thread
import inspect
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

from stratakv.bias import Bias
from stratakv.control import W_BUSY, W_TIP, W_TURNS, Control, Figure
from stratakv.errors import ClosedError, InvalidValueError, TransactionError, storage_error
from stratakv.files import Files
from stratakv.forks import HERE, notice
from stratakv.indexing import catch_up
from stratakv.installing import Held, Message
from stratakv.interrupted import is_interrupted
from stratakv.locks import FileLock
from stratakv.log import OFFSET_MASK
from stratakv.structure import Structure
from stratakv.view import FORKED

logger = logging.getLogger("stratakv")

_WRITES = int(Figure.WRITES)
_MOMENT = 1.0  # seconds; a transaction of a thread that never ends must not hold up the end of the process
_LOOKS, _LOOK = 300, 1e-3  # seconds


class WriterLock:
    """The writer lock.

    owner: the thread that has it, which would wait for itself; 0 for none, less for one that is not known.
    records: how many were written by this process. inside: what a signal handler may have interrupted while
    it had the lock.
    """

    inside: tuple[CodeType, ...]

    def __init__(
        self, files: Files, lock: FileLock, bias: Bias, control: Control, structure: Structure
    ) -> None:
        self._files = files
        self._control = control
        self._words = control.words
        self._structure = structure
        self.lock = lock
        self.bias = bias
        self.begin_process()

    def begin_process(self) -> None:
        """Start with no thread holding anything, as a new process does."""
        self.bias.begin_process()
        self._turn = threading.Lock()  # not one that knows its thread: a transaction may end in another one
        self._freeing = threading.Lock()
        self.owner = 0
        self.records = 0

    def publish(self) -> None:
        """Let other processes see how many records this one has written."""
        self._control.row[_WRITES] = self.records

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Keep all other threads and processes from writing.

        An exception inside leaves `busy` set, so that the next holder heals whatever was half done, but where
        nothing was (`settle`).
        """
        if not HERE[0]:
            notice()
        turn, begun = self._turn, False
        messages: list[Message] = []
        if turn.locked():
            self._check_not_inside(3)  # this, contextlib's, and whoever wants the lock
        # A signal may raise behind any call and at the beginning of any function. So the one is a `with` and
        # the other freed by a call that enters no function; else they would be held for ever.
        try:
            with turn:
                begun = True
                try:
                    self.owner = threading.get_ident()
                    yield self._begin(messages)
                    self.check_held()
                    self.settle()
                except InvalidValueError:  # those come before anything is done
                    self.settle()
                    raise
                finally:
                    if HERE[0] and turn is self._turn:  # else this is a child, and the lock is its parent's
                        self.owner = 0
                        try:
                            self.lock.unlock()
                        except OSError as cause:
                            raise storage_error(self.lock.path, cause) from cause
        except BaseException:
            if not begun:
                _thread.start_new_thread(self._let_go, (turn,))  # which no signal interrupts
            raise
        finally:
            for level, message, arguments in messages:
                logger.log(level, message, *arguments)

    def _let_go(self, turn: threading.Lock) -> None:
        """Free the lock where a signal has raised just when this thread had got it.

        Since Python 3.14 it may do so before the `with` block begins, which would free it. Whoever else has
        the lock says so as soon as it is its turn to run: so looks are counted here, and not the time.
        """
        with self._freeing:
            for _ in range(_LOOKS):
                if self.owner or not turn.locked():
                    return
                time.sleep(_LOOK)
            turn.release()

    def _check_not_inside(self, above: int) -> None:
        """Raise TransactionError where this thread is inside itself: it would wait for itself for ever.

        above: see `is_interrupted`.
        """
        if self.owner == threading.get_ident():
            raise TransactionError(
                "this thread has a transaction open on the store, or is writing to it just now: "
                "use the transaction's own methods"
            )
        if is_interrupted(self.inside, self, above):
            raise TransactionError(
                "this signal handler has interrupted a write to the store, and cannot write to it before "
                "that ends: let it set a flag, and write where that is looked at"
            )

    def check_outside(self) -> None:
        """Raise TransactionError where this thread is inside: what it would wait for may wait for it."""
        if self._turn.locked():
            self._check_not_inside(0)

    def _begin(self, messages: list[Message]) -> Held:
        structure, words = self._structure, self._words
        self._open_lock()
        self.publish()
        self.bias.prepare(self.records)
        self.lock.exclusive()
        self._check_open()  # only now: a close may have lost patience while this thread waited
        self.bias.look(self.records)
        if words[W_BUSY]:
            structure.finish()
            self._heal(Held(structure.current(), messages))
        words[W_BUSY] = 1
        words[W_TURNS] += 1
        # Made anew each time: kept, it would keep removed files open.
        return Held(structure.current(), messages)

    def settle(self) -> None:
        """Say that nothing is half done, so that nobody has to heal, whatever is raised now."""
        if self.lock.fd >= 0 and HERE[0] and self._turn.locked():  # else it is another process's
            self._words[W_BUSY] = 0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Keep the threads of this process from committing; those that are inside have a moment to end."""
        waits = self.owner != threading.get_ident() and self._turn.acquire(timeout=_MOMENT)
        if waits:
            self.owner = threading.get_ident()  # a signal handler that writes would wait for itself
        try:
            yield
        finally:
            if waits:
                self.owner = 0
                self._turn.release()

    def check_held(self) -> None:
        """Raise TransactionError in a child that was forked while its parent held the lock."""
        if not HERE[0]:
            notice()
        if not self._turn.locked():
            raise TransactionError("this process was forked inside a transaction: only its parent may end it")

    def _open_lock(self) -> int:
        """Return the descriptor of the lock, which a forked child has to open for itself."""
        if self._structure.view.generation == FORKED:
            self._structure.refresh()
        self._check_open()
        return self.lock.fd

    def _check_open(self) -> None:
        """Raise ClosedError where the store was closed while this thread was on its way, or inside."""
        if self.lock.fd < 0:
            raise ClosedError(f"{self._structure.directory.path} was closed; open the store again")

    def leave(self) -> None:
        """Give the bias up, so that nobody has to take it from a process that is gone."""
        if self.bias.word and self.lock.try_exclusive():
            self.bias.leave()
            self.lock.release()

    def close(self) -> None:
        """Let go of the lock; a write raises ClosedError from here on."""
        self.bias.lock.close()  # first: who waits for a word then knows that the other is not closed yet
        self.lock.close()

    def _heal(self, held: Held) -> None:
        """Bring log and index to where the tip says they are."""
        active, tip = held.view.active, self._words[W_TIP] & OFFSET_MASK
        try:
            # Nobody was told that the bytes behind the tip were stored, and zeros are no record.
            self._files.clear(active.fd, tip, active.end)
        except OSError as cause:
            raise storage_error(active.path, cause) from cause
        if catch_up(self._words, active):
            held.say(
                logging.WARNING,
                "%s: a writer stopped inside its commit; indexed up to byte %d",
                active.path,
                tip,
            )


WriterLock.inside = (inspect.unwrap(WriterLock.hold).__code__,)
