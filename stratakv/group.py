"""Group commit: puts that threads make while a sync is running are written as one, and synced together.

Where each writes for itself, sixteen threads have four or five puts in each sync, and most of the time wait
for the interpreter: whenever a thread lets others in, at the lock or the write, it queues for its next turn.
So they leave their records, and one of them writes all in one piece, each a commit of its own, and syncs: so
fifteen are in each sync, and four times as many are done as by one thread (`python -m benchmarks sync`).

The main thread takes no part. Signals are handled there, so it may be thrown out of anything anywhere, and
whoever depended on it would not know what had been done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from stratakv.commit import AHEAD_BYTES, Committer, Write
from stratakv.errors import StrataKVError
from stratakv.forks import HERE, notice
from stratakv.gathering import Gathering, Wish

# Longer records are committed each by its own thread: together they would be a copy of all.
_MOST_BYTES = AHEAD_BYTES


class _Put(Wish):
    """A record to be committed. end: the position behind it and those written with it, 0 where it is not."""

    __slots__ = ("end", "write")

    def __init__(self, write: Write) -> None:
        super().__init__()
        self.write = write
        self.end = 0


class GroupCommit:
    """Commits single records as `Committer.commit_one` does, and returns once they are on disk.

    reach: returns once all below a position is on disk. is_syncing: whether a thread is in `reach` already.
    """

    def __init__(
        self, committer: Committer, reach: Callable[[int], None], is_syncing: Callable[[int], bool]
    ) -> None:
        self._committer = committer
        self._reach = reach
        self._is_syncing = is_syncing
        self.begin_process()

    def begin_process(self) -> None:
        """Start without any thread, as a new process does."""
        self._gathering = Gathering[_Put]()
        self._main = threading.main_thread().ident

    def commit_one(self, key: bytes, first: int, second: int, body: bytes, checksum: int) -> int:
        """Commit one record, with those of other threads; return the position behind it."""
        if not HERE[0]:
            notice()
        write = (key, first, second, body, checksum)
        thread = threading.get_ident()
        # One that has a transaction open will be told so; in company, others may be waiting for it to end.
        if thread == self._main or thread == self._committer.owner or len(body) > _MOST_BYTES:
            return self._committer.commit_one(*write)
        gathering = self._gathering
        # In a `__del__` or the like: others wait for what this thread has not finished.
        if gathering.has(thread) or self._is_syncing(thread):
            return self._committer.commit_one(*write)
        put = _Put(write)
        try:
            puts = gathering.join(put)
            if puts:
                self._commit(puts)
        finally:
            put.is_left = True
            gathering.leave(put)
        return put.end or self._committer.commit_one(*write)

    def _commit(self, puts: Sequence[_Put]) -> None:
        """Commit and sync them all. Where it fails before the commit, each has to try for itself."""
        if len(puts) == 1:  # one thread does a tenth more than by way of a batch
            end = puts[0].end = self._committer.commit_one(*puts[0].write)
        else:
            try:
                with self._committer.hold() as held:
                    end = self._committer.commit(held, [put.write for put in puts])
                    for put in puts:  # inside: a lock that cannot be released is no reason to commit again
                        put.end = end
            except StrataKVError:
                return
        self._reach(end)
