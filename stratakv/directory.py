"""The directory of a store: whose it is, which files it has, and how they are made and replaced."""

from __future__ import annotations

import errno
import logging
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stratakv.errors import DirectoryError, FormatError, ReadOnlyError, removed_error, reported, storage_error
from stratakv.files import NETWORK_FILE_SYSTEMS, Attributes, Files
from stratakv.interrupted import check_refused, unless_refused
from stratakv.log import HEADER_BYTES, OFFSET_BITS, LogHeader
from stratakv.open_file import OpenFile

FORMAT = 1
FORMAT_NAME = "FORMAT"
MANIFEST_NAME = "MANIFEST"
OLD_MANIFEST_NAME = "MANIFEST.old"
CONTROL_NAME = "CONTROL"
GHOSTS_NAME = "GHOSTS"
SIEVE_NAME = "SIEVE"
LOST_FOUND_NAME = "lost+found"
LOCK_NAMES = (
    "attach.lock",
    "writer.lock",
    "maintenance.lock",
    "sync.lock",
    "keep.lock",
    "keys.lock",
    "bias.lock",
)
_OTHER_NAMES = (
    CONTROL_NAME,
    FORMAT_NAME,
    GHOSTS_NAME,
    LOST_FOUND_NAME,
    MANIFEST_NAME,
    OLD_MANIFEST_NAME,
    SIEVE_NAME,
)
logger = logging.getLogger("stratakv")

MOST_NUMBER = 2 ** (64 - OFFSET_BITS) - 1  # of a segment: what a position has bits for
_NUMBERED = re.compile(r"(\d{6,8})\.(log|idx)")
_TEMPORARY = re.compile(r"(\d{6,8}(\.\d+)?|MANIFEST|MANIFEST\.old|FORMAT|GHOSTS|SIEVE)\.tmp")
_FORMAT_BYTES = 64  # more than the line can have: what is behind them makes it another
_FORMAT_LINE = re.compile(rb"stratakv ([1-9]\d{0,8})\n")
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class NetworkFileSystemWarning(UserWarning):
    """The store lies on a network file system, where locks and maps may not work between machines."""


class Directory:
    """One directory on disk, and the permissions everything in it is made with."""

    def __init__(self, path: Path, files: Files, mode: int = 0o700) -> None:
        self.path = path
        self.files = files
        self.mode = mode
        self._owner: int | None = None  # of the directory, once it was entered
        self.mapped_writes = False  # see `Files.allows_mapped_writes`

    # -- whose it is -----------------------------------------------------------------------------------

    def enter(self, *, create: bool) -> bool:
        """Make sure that the directory is there and ours; return whether it was made now.

        Raises DirectoryError.
        """
        file_system = self._file_system()
        self.mapped_writes = self.files.allows_mapped_writes(file_system)
        if file_system in NETWORK_FILE_SYSTEMS:
            warnings.warn(
                f"{self.path} is on a network file system: use it from one machine only, "
                "and put it on a local disk if you can",
                NetworkFileSystemWarning,
                stacklevel=5,
            )
        try:
            self._check(self.files.stat(self.path))
        except FileNotFoundError:
            self._check_links()
            if not create:
                raise DirectoryError(f"{self.path} does not exist; nothing was created") from None
            return self._make()
        except (OSError, ValueError) as cause:
            check_refused(cause)
            raise DirectoryError(f"{str(self.path)!r} cannot be reached: {cause}") from cause
        return False

    def _check_links(self) -> None:
        """Raise DirectoryError where a symbolic link on the way leads to nothing: none can be made there."""
        for path in (self.path, *self.path.parents):
            if self.files.is_link(path) and not self.files.is_there(path):
                raise DirectoryError(
                    f"{path} is a symbolic link to what does not exist; make that, or remove the link"
                )

    def _file_system(self) -> str:
        """The type of the file system that the directory is on, or will be."""
        try:
            nearest = next(p for p in (self.path, *self.path.parents) if self.files.is_there(p))
            return self.files.file_system(nearest)
        except OSError as cause:
            check_refused(cause)
            raise DirectoryError(f"{str(self.path)!r} cannot be reached: {cause}") from cause

    def _make(self) -> bool:
        try:
            self.files.make_directory(self.path, self.mode)
            return True
        except FileExistsError:  # another process was faster
            self._check(self.files.stat(self.path))
            return False
        except OSError as cause:
            check_refused(cause)
            raise DirectoryError(f"{self.path} cannot be made: {cause.strerror}") from cause

    def _check(self, found: Attributes) -> None:
        if not stat.S_ISDIR(found.st_mode):
            raise DirectoryError(f"{self.path} is not a directory")
        self._owner = found.st_uid
        shared = bool(self.mode & 0o070)
        if found.st_mode & 0o002 and found.st_mode & stat.S_ISVTX:  # as /tmp
            raise DirectoryError(f"{self.path} is for the files of all users; name a directory in it")
        if found.st_mode & 0o002:
            raise DirectoryError(f"{self.path} can be written by everybody; `chmod o-w {self.path}` first")
        if found.st_mode & 0o020 and not shared:
            raise DirectoryError(
                f"{self.path} can be written by its group; `chmod g-w {self.path}`, "
                "or open it with mode=0o770 to share it with the group"
            )
        user = self.files.user()
        in_group = shared and found.st_gid in self.files.groups()
        if user not in (0, found.st_uid) and not in_group:
            if found.st_uid == 0:
                advice = f"run `chown -R {user} {self.path}` as root"
            else:
                advice = (
                    "run as that user. To share a store with a group, `chgrp` and `chmod g+rwx` "
                    f"{self.path} and `chmod g+rw` the files in it, then open it with mode=0o770"
                )
            raise DirectoryError(
                f"{self.path} belongs to user {found.st_uid} and you are user {user}; {advice}"
            )

    def _check_owner(self, fd: int, path: Path) -> None:
        """Raise DirectoryError for a file of somebody else: its owner can cut it while we have it mapped, and
        root could be made to write to any file that has a second name here.
        """
        try:
            owner = self.files.owner(fd)
        except OSError as cause:
            raise storage_error(path, cause) from cause
        if self._owner not in (None, owner) and not self.mode & 0o070:
            raise DirectoryError(
                f"{path} belongs to user {owner}, and its directory to user {self._owner}; "
                f"`chown -R` {self.path} if all of it is yours"
            )

    def writable(self) -> bool:
        return self.files.can_write(self.path)

    # -- what it is ------------------------------------------------------------------------------------

    def is_store(self) -> bool:
        """Whether FORMAT says that this is a store we can read; FormatError for a newer one."""
        text = self._format()
        if text is None:
            return False
        found = _FORMAT_LINE.fullmatch(text)
        if not found:
            raise DirectoryError(
                f"{self.path} is not a StrataKV store, or its {FORMAT_NAME} file is damaged: "
                f"`python -m stratakv recover {self.path}` writes it anew"
            )
        if int(found[1]) > FORMAT:
            raise FormatError(
                f"{self.path} has format {int(found[1])}, and this StrataKV reads format {FORMAT} at most: "
                "upgrade the package, or name another directory"
            )
        return True

    def format_is_damaged(self) -> bool:
        """Whether there is a FORMAT, and it is not one that any StrataKV wrote."""
        text = self._format()
        return text is not None and not _FORMAT_LINE.fullmatch(text)

    def _format(self) -> bytes | None:
        try:
            return self.files.read_all(self.path / FORMAT_NAME, _FORMAT_BYTES)
        except FileNotFoundError:
            return None
        except OSError as cause:
            check_refused(cause)
            raise DirectoryError(f"{self.path}/{FORMAT_NAME} cannot be read: {cause.strerror}") from cause

    def foreign(self) -> list[str]:
        """Return the names of what no store has."""
        return [
            name
            for name in self.files.names(self.path)
            if name not in (*_OTHER_NAMES, *LOCK_NAMES) and not _NUMBERED.fullmatch(name)
            if not _TEMPORARY.fullmatch(name)
        ]

    def check_unclaimed(self) -> None:
        """Raise DirectoryError unless the directory holds nothing but what a broken-off creation leaves."""
        if foreign := self.foreign():
            raise DirectoryError(
                f"{self.path} is not a StrataKV store and not empty (it has {foreign[0]!r}); "
                "name a new or an empty directory"
            )
        if any(self._has_records(number) for number in self.numbers("log")):
            raise DirectoryError(
                f"{self.path} has logs but no {FORMAT_NAME} file; "
                f"`python -m stratakv recover {self.path}` rebuilds the store from them"
            )

    def _has_records(self, number: int) -> bool:
        """Whether anything was ever written to a log behind its header, or it has another one than ours."""
        with self.open(self.log_path(number), write=False) as file:
            head = self.files.pread(file.fileno(), 4096, 0)
        return any(head[HEADER_BYTES:]) or (any(head) and LogHeader.unpack(head) is None)

    def write_format(self) -> None:
        self.replace(FORMAT_NAME, b"stratakv %d\n" % FORMAT)

    # -- its files -------------------------------------------------------------------------------------

    def log_path(self, number: int) -> Path:
        return self.path / f"{number:06d}.log"

    def index_path(self, number: int) -> Path:
        return self.path / f"{number:06d}.idx"

    def numbers(self, suffix: str) -> list[int]:
        """Numbers of the files that end in `suffix` ("log" or "idx"), ascending."""
        try:
            names = self.files.names(self.path)
        except OSError as cause:
            check_refused(cause)
            raise DirectoryError(f"{self.path} cannot be read: {cause.strerror}") from cause
        found = (_NUMBERED.fullmatch(name) for name in names)
        return sorted(int(match[1]) for match in found if match and match[2] == suffix)

    def free_number(self, least: int) -> int:
        """Return a number from `least` on that no log has had; names that none can have do not count."""
        return max([least, *(number + 1 for number in self.numbers("log") if number < MOST_NUMBER)])

    def open(self, path: Path, *, write: bool, create: bool = False) -> OpenFile:
        """Open or create one of the store's files."""
        try:
            file = self.files.open(path, write=write, create=create, mode=self.mode & 0o666)
        except FileNotFoundError:
            raise
        except OSError as cause:
            if write and cause.errno in _READ_ONLY:
                raise ReadOnlyError(
                    f"{path} cannot be written: {cause.strerror}; run as the user it belongs to, "
                    "or only read the store (in Python with read_only=True)"
                ) from cause
            raise storage_error(path, cause) from cause
        try:
            self._check_owner(file.fileno(), path)
        except BaseException:
            file.let_go()
            raise
        return file

    def replace(self, name: str, data: bytes) -> None:
        """Put `data` under `name` as a whole: on disk either the old or the new is found, never a part."""
        with self.made_anew(self.path / name) as fd:
            self.files.write_all(fd, data, 0)
            self.files.fdatasync(fd)
        self.sync()

    @contextmanager
    def made_anew(self, path: Path, temporary: Path | None = None) -> Iterator[int]:
        """Yield the descriptor of a new file, which takes the place of `path` at the end of the block.

        Where the block raises, `path` stays as it was, and nothing is left of the new file: a full disk must
        not fill up with attempts.
        """
        files, temporary = self.files, temporary or path.with_suffix(".tmp")
        with reported(path):
            files.unlink(temporary)
            file = self.open(temporary, write=True, create=True)
            try:
                with file:
                    yield file.fileno()
                files.rename(temporary, path)
            except BaseException:
                with unless_refused():
                    files.unlink(temporary)
                raise

    def keep(self, name: str, kept: str) -> None:
        """Let `kept` name the file that is `name` now; it stays when `name` is replaced."""
        temporary = self.path / f"{kept}.tmp"
        # The first manifest has no predecessor.
        with reported(self.path / kept), suppress(FileNotFoundError):
            self.files.unlink(temporary)
            self.files.link(self.path / name, temporary)
            self.files.rename(temporary, self.path / kept)
            self.files.unlink(temporary)  # which a rename leaves where `kept` was the same file before

    def remove(self, number: int) -> None:
        """Take the files of one segment off the disk; what cannot be removed now is tidied up later."""
        # IMPORTANT: the log first. Who misses an index asks the log whether it is damage.
        self.discard(self.log_path(number))
        self.discard(self.index_path(number))

    def discard(self, path: Path) -> None:
        """Take a file off the disk, if it is there; what cannot be removed now is tidied up later."""
        try:
            self.files.unlink(path)
        except OSError as cause:
            check_refused(cause)
            logger.warning("%s cannot be removed now: %s", path, cause.strerror)

    def used(self) -> int:
        """Bytes of disk that all files of an open store take, as `du` counts them; raises RemovedError."""
        try:
            return self.files.allocated_in(self.path)
        except (FileNotFoundError, NotADirectoryError) as cause:
            raise removed_error(self.path) from cause
        except OSError as cause:
            check_refused(cause)
            raise DirectoryError(f"{self.path} cannot be read: {cause.strerror}") from cause

    def used_by(self, number: int) -> int:
        """Bytes of disk that the files of one segment take."""
        return self.files.allocated(self.log_path(number)) + self.files.allocated(self.index_path(number))

    def sync(self) -> None:
        with reported(self.path):
            self.files.sync_directory(self.path)
