"""Writing a log anew from records that are already encoded: they get a new link, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from stratakv import log, record
from stratakv.directory import Directory
from stratakv.errors import reported, storage_error
from stratakv.log import LogHeader
from stratakv.record import COMMIT, LINK_MASK, Kind, Record
from stratakv.segment import Segment
from stratakv.segment_files import create_log

_BUFFER_BYTES = 2**20
# Synced as it grows: a sync of all at the end would hold up everybody's writes for as long as it takes.
_SYNC_BYTES = 16 * 2**20


class LogWriter:
    """A log in the making; `finish` makes it durable. `link` is what the next record's link must be.

    take: called with the file and its size before it grows; raises where there is no room for that.
    """

    def __init__(
        self,
        directory: Directory,
        header: LogHeader,
        take: Callable[[int, int], None] = lambda fd, end: None,
    ) -> None:
        self._files = directory.files
        self._take = take
        self._path = directory.log_path(header.number)
        self._file = create_log(directory, header)
        self._buffer: list[bytes | memoryview] = []
        self._buffered = 0
        self._written = self._begun = log.HEADER_BYTES
        self._syncing: threading.Thread | None = None
        self._error: BaseException | None = None
        self.link = header.first_link
        self.keys = 0

    @property
    def size(self) -> int:
        return self._written + self._buffered

    def delete_ranges(self, prefixes: Iterable[bytes]) -> None:
        """Begin the log with the range tombstones that its header says it has."""
        frames, link = record.range_tombstones(prefixes, self.link)
        self.write((frames,), len(frames), link)

    def move(self, segment: Segment, found: Record) -> None:
        """Append a record of another log, byte for byte but for its link."""
        self._append(segment.log[found.offset + record.PREFIX_BYTES : found.end], found.checksum)
        self.keys += 1

    def end(self) -> None:
        """Append the record that says that the log is whole."""
        body = record.encode(Kind.END | COMMIT, b"", b"", 0)
        self._append(body, record.checksum_of(body))

    def _append(self, body: bytes, checksum: int) -> None:
        frame = record.frame(body, checksum, self.link)
        self.write((frame,), len(frame), checksum & LINK_MASK)

    def write(self, frames: Sequence[bytes | memoryview], size: int, link: int) -> None:
        """Append the parts of whole records, linked already, of so many bytes; `link` follows them."""
        self._buffer += frames
        self._buffered += size
        self.link = link
        if self._buffered >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was appended, so that it can be read; not to the disk yet."""
        with reported(self._path):
            self._take(self._file.fileno(), self.size)
            self._files.write_all(self._file.fileno(), b"".join(self._buffer), self._written)
        self._written += self._buffered
        self._buffer, self._buffered = [], 0
        if self._written - self._begun >= _SYNC_BYTES:
            self._sync_behind()

    def _sync_behind(self) -> None:
        """Begin to sync what is written, while the next is being read; wait for the sync before."""
        self._join()
        self._begun = self._written
        thread = threading.Thread(target=self._sync, name="stratakv-rewrite")
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter is about to end
            self._sync()
            return
        self._syncing = thread  # now that it can be joined

    def _sync(self) -> None:
        try:
            self._files.fdatasync(self._file.fileno())
        except BaseException as error:  # whatever it is, it is for the thread that writes
            self._error = error

    def _join(self) -> None:
        if self._syncing:
            self._syncing.join()
            self._syncing = None
        if isinstance(self._error, OSError):
            raise storage_error(self._path, self._error) from self._error
        if self._error:
            raise self._error

    def finish(self) -> None:
        """Return once all of it is on disk."""
        self.flush()
        self._join()
        self._sync()
        self._join()

    def close(self) -> None:
        if self._syncing:
            self._syncing.join()
        self._file.let_go()
