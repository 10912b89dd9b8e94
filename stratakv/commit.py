"""The commit: one process at a time, one commit after the other, each in the same steps.

    1 log      the records' bytes, behind everything there is
    2 tip      the log now reaches further; from here on the end of the process loses nothing
    3 slots    the index points at them; from here on readers see them
    4 chain    what the next record's link must be
    5 indexed  the index has caught up with the tip

`busy` is 1 meanwhile; what a process leaves that dies in the midst of it, the next one mends (`writer_lock`).

The bytes of a put are stored through the map of the log where it has blocks for them: where zeros were
written ahead, and the file system is one that leaves blocks as they are (`Files.allows_mapped_writes`).
"""

from __future__ import annotations

import _thread
from collections.abc import Sequence

from stratakv import record
from stratakv.bias import LOOK, Bias
from stratakv.bloom import PATTERN_MASK, PATTERNS
from stratakv.control import (
    COMMIT_STATE,
    W_AHEAD,
    W_BUSY,
    W_CHAIN,
    W_INDEXED,
    W_TIP,
    W_TURNS,
    W_USED,
    Control,
    read_commit_state,
)
from stratakv.errors import storage_error
from stratakv.files import LARGE_PAGE, Files
from stratakv.forks import HERE, notice
from stratakv.index import FINGERPRINT
from stratakv.indexing import insert, takes_over
from stratakv.installing import Held
from stratakv.interrupted import check_refused, unless_refused
from stratakv.locks import EXCLUSIVE_NOW, UNLOCK, FileLock
from stratakv.log import OFFSET_MASK
from stratakv.record import LINK_MASK, PREFIX_BYTES, pack_prefix
from stratakv.segment import Segment
from stratakv.structure import Structure
from stratakv.writer_lock import WriterLock

# A write to pages that exist is cheaper than one to new ones, so zeros are written ahead, in steps of this
# many bytes: 1.2 µs in place of 1.7 for 1 KiB, 5.1 in place of 9.2 for 16 KiB. Longer records gain nothing.
AHEAD_BYTES = 64 * 1024
_ZEROS = bytes(2 * AHEAD_BYTES)
_SOMEBODY = -1  # to ask which thread it is would cost each put 1 %


# One record, encoded and hashed before the lock is taken, waiting for its place in the log: its key, the
# two halves of the key's hash, its body, its checksum. A NamedTuple would cost a put 4 % more.
Write = tuple[bytes, int, int, bytes, int]
# What tells whether anybody has had the lock since: the tip, and how often it was held for more than one put.
Moment = tuple[int, int]


class Committer(WriterLock):
    """The writer lock, and what is committed under it."""

    def __init__(
        self, files: Files, lock: FileLock, bias: Bias, control: Control, structure: Structure
    ) -> None:
        super().__init__(files, lock, bias, control, structure)
        self._flock = files.flock
        self._pwrite = files.pwrite

    def begin_process(self) -> None:
        super().begin_process()
        self._reserved = 0  # up to which position this process has reserved blocks

    def commit(self, held: Held, writes: Sequence[Write]) -> int:
        """Append `writes`, the last of which bears the commit bit; return the position behind them.

        Those up to one that bears it are an atomic commit, which a power cut leaves whole or not at all. The
        segment is rotated first where they do not all fit.
        """
        self._check_open()
        words, active = self._words, held.view.active
        start = words[W_TIP] & OFFSET_MASK
        data = _linked(writes, words[W_CHAIN])
        if start + len(data) > active.end or words[W_USED] + len(writes) > active.slot_count // 2:
            # Deletes are never too many: they would be missed where a put is only not stored.
            stored = sum([len(body) for _, _, _, body, _ in writes if record.kind_of(body) == record.PUT])
            self._structure.check_fits(held, stored)
            self._structure.rotate(held, len(data), len(writes))
            active = held.view.active
            start = words[W_TIP] & OFFSET_MASK
            data = _linked(writes, words[W_CHAIN])
        tip, ahead = words[W_TIP], words[W_AHEAD]
        end = tip + len(data)
        try:
            if end > ahead and len(data) <= AHEAD_BYTES:
                self._write_ahead(active, max(tip, ahead), end)
            self._files.write_all(active.fd, data, start)  # 1 log
        except OSError as cause:
            check_refused(cause)
            self._take_back(active, start)
            raise storage_error(active.path, cause) from cause
        words[W_TIP] = end  # 2 tip
        for key, first, second, body, _ in writes:  # 3 slots
            insert(words, active, key, first, second, start, held.view.ghosts)
            start += PREFIX_BYTES + len(body)
        words[W_CHAIN] = writes[-1][4] & LINK_MASK  # 4 chain
        words[W_INDEXED] = end  # 5 indexed
        self.records += len(writes)
        return end

    def moment(self) -> Moment | None:
        """Return what a commit may depend on that is looked up now; None while somebody holds the lock.

        None, too, where processors do not show each other what they store in its order.
        """
        words = self._words
        moment = words[W_TIP], words[W_TURNS]
        # IMPORTANT: busy after the others, and the lookup after it, which then sees all that the tip covers.
        return None if words[W_BUSY] or not self._files.ORDERED else moment

    def commit_one(
        self,
        key: bytes,
        first: int,
        second: int,
        body: bytes,
        checksum: int,
        since: Moment | None = None,
    ) -> int:
        """Take the lock, commit one record, return the position behind it.

        since: the moment before the lookup that the record depends on, if it does. Where anybody has had the
        lock since, or anything is not as usual, nothing is done then, and 0 returned.

        The same as `with hold() as held: commit(held, …)`, which is also how it goes on whenever
        anything is not as usual; written out in one function, as a put takes a third longer otherwise.
        """
        if not HERE[0]:
            notice()
        structure, turn, flock, begun = self._structure, self._turn, self._flock, False
        words, bias, word = self._words, self.bias, 0
        if turn.locked():
            self._check_not_inside(1)
            if since:
                return 0
        try:
            turn.acquire()  # `with` would cost a put 2 % more; where a signal raises just here, see below
            begun = True
            try:
                self.owner = _SOMEBODY
                lock = self.lock.fd
                try:
                    if lock < 0:
                        lock = self._open_lock()
                    word = bias.word
                    if word:
                        words[word] = 1  # IMPORTANT: before it is read who has the bias
                    else:
                        try:
                            flock(lock, EXCLUSIVE_NOW)
                        except BlockingIOError:
                            if since:
                                return 0
                            self.lock.exclusive()
                            self._check_open()
                    view, page = structure.view, self._control.page
                    generation, tip, chain, used, busy, ahead, whose = read_commit_state(page, COMMIT_STATE)
                    if since and since != (tip, words[W_TURNS]):
                        return 0
                    active = view.active
                    start = tip & OFFSET_MASK
                    length = PREFIX_BYTES + len(body)
                    end = tip + length
                    slots, size = active.slots, active.slot_count
                    fits = start + length <= active.end and used < size // 2
                    alone = whose == word and (word or (self.records + 1) % LOOK)
                    if alone and fits and generation == view.generation and not busy:
                        words[W_BUSY] = 1
                        if end > ahead and length <= AHEAD_BYTES:
                            ahead = self._write_ahead(active, max(tip, ahead), end)
                        prefix, written = pack_prefix(checksum, chain), length
                        if end <= ahead and active.mapped_writes:
                            mapped, behind = active.log, start + PREFIX_BYTES
                            mapped[start:behind] = prefix  # 1 log
                            mapped[behind : start + length] = body
                        else:
                            try:
                                written = self._pwrite(active.fd, prefix + body, start)
                            except OSError as cause:
                                check_refused(cause)
                                written = 0
                        if written == length:
                            words[W_TIP] = end  # 2 tip
                            place = first % size
                            tag = first & FINGERPRINT
                            while slot := slots[place]:  # 3 slots
                                slot ^= tag
                                if slot <= OFFSET_MASK and takes_over(active, slot, key):
                                    break
                                place += 1
                                if place == size:
                                    place = 0
                            else:
                                active.bloom[first % active.word_count] |= PATTERNS[second & PATTERN_MASK]
                                used += 1
                                if view.ghosts is not None and view.ghosts.recall(first):
                                    active.hot[place] = 1
                            slots[place] = tag | start
                            words[W_USED] = used
                            words[W_CHAIN] = checksum & LINK_MASK  # 4 chain
                            words[W_INDEXED] = end  # 5 indexed
                            words[W_BUSY] = 0
                            self.records += 1
                            return end  # type: ignore[no-any-return]
                        self._take_back(active, start)  # a full disk, as a rule; below it is tried once more
                except OSError as cause:
                    raise storage_error(structure.view.active.path, cause) from cause
                finally:
                    self.owner = 0
                    if not word:
                        try:
                            if 0 <= lock == self.lock.fd:  # else closed; the number may be another file's
                                flock(lock, UNLOCK)
                        except OSError as cause:
                            check_refused(cause)
                            self.lock.release()  # says what is wrong
                    elif word == bias.word:  # else this is a child, and the word is its parent's
                        words[word] = 0
            finally:
                turn.release()
        except BaseException:
            if not begun:
                _thread.start_new_thread(self._let_go, (turn,))  # which no signal interrupts
            raise
        if since:
            return 0
        with self.hold() as held:
            return self.commit(held, ((key, first, second, body, checksum),))

    def _take_back(self, active: Segment, offset: int) -> None:
        """Make zeros of what a commit has written that failed before its tip; then nothing is half done."""
        with unless_refused():  # else whoever comes next heals
            self._files.clear(active.fd, offset, active.end)
            self.settle()

    def _write_ahead(self, active: Segment, start: int, end: int) -> int:
        """Write zeros, which are no record, from position `start`, at or behind the tip, to beyond `end`.

        Returns the position up to which the log has blocks now.
        """
        self.publish()  # here, as it is not at each commit
        offset = start & OFFSET_MASK
        stop = min((end & OFFSET_MASK) // AHEAD_BYTES * AHEAD_BYTES + AHEAD_BYTES, active.end)
        # Where there is no space for all of it, there may be for the record, whose own write will tell.
        with unless_refused():
            if active.mapped_writes:
                # IMPORTANT: a store into a page asks for blocks for all pages that the kernel keeps together
                # with it, and reading the file keeps some together that reach beyond the zeros.
                together = min(-(-stop // LARGE_PAGE) * LARGE_PAGE, active.end)
                reserved = start - offset + together
                if self._reserved != reserved:  # asking each time is 1 % of a put
                    self._files.allocate(active.fd, together, offset)
                    self._reserved = reserved
            start += self._pwrite(active.fd, memoryview(_ZEROS)[: stop - offset], offset)
            self._words[W_AHEAD] = start
        return start


Committer.inside = (Committer.commit_one.__code__, *WriterLock.inside)


def _linked(writes: Sequence[Write], chain: int) -> bytes:
    """Return the bytes of `writes`, each linked to the one before it and the first to `chain`."""
    if len(writes) == 1:
        return record.frame(writes[0][3], writes[0][4], chain)
    frames = []
    for _, _, _, body, checksum in writes:
        frames.append(record.frame(body, checksum, chain))
        chain = checksum & LINK_MASK
    return b"".join(frames)
