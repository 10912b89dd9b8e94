"""The commit: one process at a time, one commit after the other, each in the same steps.

    1 log      the records' bytes, behind everything there is
    2 tip      the log now reaches further; from here on the end of the process loses nothing
    3 slots    the index points at them; from here on readers see them
    4 chain    what the next record's link must be
    5 indexed  the index has caught up with the tip

`busy` is 1 while a process is at it. Whoever takes the lock and finds it so knows that the last holder
died, or gave up, somewhere inside, and heals first: what stands behind the tip is cut off, and what the
index lacks is entered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from stratakv import record
from stratakv.bloom import PATTERN_BITS, PATTERN_MASK, PATTERNS
from stratakv.control import (
    OFFSET_MASK,
    POSITION_BITS,
    W_BUSY,
    W_CHAIN,
    W_INDEXED,
    W_TIP,
    W_USED,
    Control,
    Counter,
    position,
)
from stratakv.errors import TransactionError, storage_error
from stratakv.files import Files
from stratakv.index import hash_key
from stratakv.locks import EXCLUSIVE, UNLOCK, FileLock
from stratakv.record import LINK_MASK, PREFIX_BYTES, unpack_header
from stratakv.segment import Segment
from stratakv.structure import Held, Structure
from stratakv.view import FORKED

log = logging.getLogger("stratakv")

_WRITES = int(Counter.WRITES)


class Write(NamedTuple):
    """One record, encoded and hashed before the lock is taken, waiting for its place in the log."""

    key: bytes
    first: int
    second: int
    body: bytes
    checksum: int


class Exclusive:
    """The writer lock: `with exclusive as held` keeps all other threads and processes from writing.

    An exception inside leaves `busy` set, so that the next holder heals whatever was half done.
    owner: the thread that has a transaction open, which would wait for itself; 0 for none.
    """

    def __init__(self, files: Files, lock: FileLock, control: Control, structure: Structure) -> None:
        self._files = files
        self._flock = files.flock
        self._words = control.words
        self._structure = structure
        self.lock = lock
        self.forked()

    def forked(self) -> None:
        """Start with no thread holding anything, as a new process does."""
        self._turn = threading.Lock()
        self.owner = 0

    def __enter__(self) -> Held:
        if not self._turn.acquire(False):
            if self.owner == threading.get_ident():
                raise TransactionError(
                    "this thread has a transaction open on the store: use the transaction's own methods"
                )
            self._turn.acquire()
        try:
            structure, words = self._structure, self._words
            if structure.view.generation == FORKED:
                structure.refresh()  # opens this process's own lock
            self._flock(self.lock.fd, EXCLUSIVE)
            if words[W_BUSY]:
                structure.finish()
                self._heal(structure.current().active)
            words[W_BUSY] = 1
            return Held(structure.current())
        except BaseException:
            self._release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.check_held()
        if kind is None:
            self._words[W_BUSY] = 0
        self._release()

    def check_held(self) -> None:
        """Raise TransactionError in a child that was forked while its parent held the lock."""
        if not self._turn.locked():
            raise TransactionError("this process was forked inside a transaction: only its parent may end it")

    def _release(self) -> None:
        # Unlocking what is not locked does no harm; the other way round every process would wait.
        try:
            self._flock(self.lock.fd, UNLOCK)
        finally:
            self._turn.release()

    def _heal(self, active: Segment) -> None:
        """Bring log and index to where the tip says they are."""
        words = self._words
        tip = words[W_TIP] & OFFSET_MASK
        try:
            # Nobody was told that the bytes behind the tip were stored, and zeros are no record.
            self._files.truncate(active.fd, tip)
            self._files.truncate(active.fd, active.end)
        except OSError as cause:
            raise storage_error(active.path, cause) from cause
        offset = words[W_INDEXED] & OFFSET_MASK
        while offset < tip:
            found = active.sound(offset)
            first, second = hash_key(found.key)
            insert(words, active, found.key, first, second, offset)
            words[W_CHAIN] = found.checksum & LINK_MASK
            offset = found.end
            log.warning("%s: a writer stopped inside its commit; indexed up to byte %d", active.path, offset)
        words[W_INDEXED] = words[W_TIP]


def insert(words: memoryview, segment: Segment, key: bytes, first: int, second: int, offset: int) -> None:
    """Point the active index at the record at `offset`, in the slot that its key has or in a new one."""
    slots, size = segment.slots, segment.slot_count
    place = first % size
    tag = first >> POSITION_BITS << POSITION_BITS
    while slot := slots[place]:
        slot ^= tag
        if slot <= OFFSET_MASK and _key_at(segment, slot) == key:
            slots[place] = tag | offset
            return
        place += 1
        if place == size:
            place = 0
    # IMPORTANT: the filter before the slot. Whoever heals a half-done commit takes a slot that is there as
    # proof that its bits are, too.
    arrays = segment.arrays
    arrays.bloom[(second >> PATTERN_BITS) % arrays.shape.words] |= PATTERNS[second & PATTERN_MASK]
    slots[place] = tag | offset
    words[W_USED] += 1


def _key_at(segment: Segment, offset: int) -> bytes:
    key = offset + record.HEADER_BYTES
    return segment.log[key : key + unpack_header(segment.view, offset)[3]]


def commit(structure: Structure, held: Held, writes: Sequence[Write]) -> int:
    """Append `writes`, the last of which bears the commit bit, as one atomic commit.

    Returns the position behind them. The segment is rotated first where they do not fit.
    """
    words = structure.control.words
    active = held.view.active
    start = words[W_TIP] & OFFSET_MASK
    data = _linked(writes, words[W_CHAIN])
    if start + len(data) > active.end or words[W_USED] + len(writes) > active.slot_count // 2:
        structure.rotate(held, len(data), len(writes))
        active = held.view.active
        start = words[W_TIP] & OFFSET_MASK
        data = _linked(writes, words[W_CHAIN])
    try:
        structure.files.write_all(active.fd, data, start)  # 1 log
    except OSError as cause:
        raise storage_error(active.path, cause) from cause
    words[W_TIP] = end = position(active.number, start + len(data))  # 2 tip
    for key, first, second, body, _ in writes:  # 3 slots
        insert(words, active, key, first, second, start)
        start += PREFIX_BYTES + len(body)
    words[W_CHAIN] = writes[-1].checksum & LINK_MASK  # 4 chain
    words[W_INDEXED] = end  # 5 indexed
    structure.control.row[_WRITES] += len(writes)
    return end


def _linked(writes: Sequence[Write], chain: int) -> bytes:
    """Return the bytes of `writes`, each linked to the one before it and the first to `chain`."""
    frames = []
    for write in writes:
        frames.append(record.frame(write.body, write.checksum, chain))
        chain = write.checksum & LINK_MASK
    return b"".join(frames)
