"""Writing a log anew from records that are already encoded: they get a new link, and nothing else."""

from __future__ import annotations

from stratakv import log, record
from stratakv.directory import Directory
from stratakv.errors import storage_error
from stratakv.log import LogHeader
from stratakv.record import COMMIT, LINK_MASK, Kind, Record
from stratakv.segment import Segment, create_log

_BUFFER_BYTES = 2**20


class LogWriter:
    """A log in the making; `finish` makes it durable."""

    def __init__(self, directory: Directory, header: LogHeader) -> None:
        self._files = directory.files
        self._path = directory.log_path(header.number)
        self._fd = create_log(directory, header)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._written = log.HEADER_BYTES
        self.link = header.first_link
        self.keys = 0

    @property
    def size(self) -> int:
        return self._written + self._buffered

    def move(self, segment: Segment, found: Record) -> None:
        """Append a record of another log, byte for byte but for its link."""
        body = segment.log[found.offset + record.PREFIX_BYTES : found.end]
        self._append(body, found.checksum)
        self.keys += 1

    def end(self) -> None:
        """Append the record that says that a compacted log is whole."""
        body = record.encode(Kind.END | COMMIT, b"", b"", 0)
        self._append(body, record.checksum_of(body))

    def _append(self, body: bytes, checksum: int) -> None:
        self._buffer.append(record.frame(body, checksum, self.link))
        self._buffered += record.PREFIX_BYTES + len(body)
        self.link = checksum & LINK_MASK
        if self._buffered >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        try:
            self._files.write_all(self._fd, b"".join(self._buffer), self._written)
        except OSError as cause:
            raise storage_error(self._path, cause) from cause
        self._written += self._buffered
        self._buffer, self._buffered = [], 0

    def finish(self) -> None:
        self._flush()
        try:
            self._files.fdatasync(self._fd)
        except OSError as cause:
            raise storage_error(self._path, cause) from cause

    def close(self) -> None:
        self._files.close(self._fd)
