"""The only door to the operating system.

Everything StrataKV asks of the kernel passes through one `Files` object, so that a test can put another
in its place: one that counts, fails or crashes on purpose. Errors leave here as plain `OSError`.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stratakv.interrupted import check_refused, unless_refused
from stratakv.open_file import OpenFile, open_file, owned
from stratakv.processes import Processes

Attributes = os.stat_result
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"})
# These overwrite a block in its place and never share it between two files, so a store into a page that has
# its block already needs no new one.
_IN_PLACE = frozenset({"ext4"})
_COPY_BYTES = 8 * 2**20
# The kernel's answers where it cannot copy between these files, and a process has to.
_NOT_BY_THE_KERNEL = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM})
# Bytes of a large page, the most that the kernel keeps and maps in one piece on x86 with pages of 4 KiB. It
# begins at a multiple of its size.
LARGE_PAGE = 2 * 2**20
_BYTE_LOCK = struct.Struct("hhqqi")  # struct flock: type, whence, start, length, process; aligned as in C


def now_ms() -> int:
    """Milliseconds since the epoch, as expiries are stored."""
    return int(time.time() * 1000)


def _in_directory(path: Path, act: Callable[[int], object]) -> None:
    """Give the descriptor of a directory to `act`. (An `OpenFile` can be none.)"""
    opened: list[int] = []
    try:
        # In one step, as in `owned`.
        opened += map(os.open, (path,), (os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,))
        act(opened[0])
    finally:
        for fd in opened:
            os.close(fd)


class Files(Processes):
    """The operating system as StrataKV needs it."""

    # Called once and more per operation, so they are the kernel's own calls with nothing around them.
    pwrite = staticmethod(os.pwrite)
    pread = staticmethod(os.pread)
    flock = staticmethod(fcntl.flock)
    fdatasync = staticmethod(os.fdatasync)

    def open(self, path: Path, *, write: bool, create: bool = False, mode: int = 0o600) -> OpenFile:
        """Open a regular file; never follows a symbolic link, never blocks.

        With `create` the file is made where there is none, with exactly the permissions `mode`.
        """
        flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        made = False
        try:
            file = open_file(path, flags)
        except FileNotFoundError:
            if not create:
                raise
            try:
                file = open_file(path, flags | os.O_CREAT | os.O_EXCL, mode)
                made = True
            except FileExistsError:  # somebody was faster, and whose it is now is not for us to say
                file = open_file(path, flags)
        try:
            if made:
                self._adopt(file.fileno(), path, mode)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "not a regular file", os.fspath(path))
        except BaseException:
            file.let_go()  # but a new one stays: it may be a lock, and others may have it open by now
            raise
        return file

    def _adopt(self, fd: int, path: Path, mode: int) -> None:
        """Give a new file its permissions and its directory's group; when we are root, its owner, too."""
        os.fchmod(fd, mode)
        owner = path.parent.stat()
        if os.geteuid() == 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)
        elif mode & 0o070:
            os.fchown(fd, -1, owner.st_gid)

    def lock_byte(self, fd: int, place: int) -> bool:
        """Lock one byte for this open file, at once; return False where another one has locked it.

        The byte need not be there. Other descriptors of the file may be closed, unlike with POSIX locks.
        """
        try:
            self._byte_lock(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, place)
        except BlockingIOError:
            return False
        return True

    def unlock_byte(self, fd: int, place: int) -> None:
        self._byte_lock(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, place)

    def byte_is_locked(self, fd: int, place: int) -> bool:
        """Whether another open file has locked the byte."""
        return self._byte_lock(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, place) != fcntl.F_UNLCK

    def _byte_lock(self, fd: int, command: int, kind: int, place: int) -> int:
        answer = fcntl.fcntl(fd, command, _BYTE_LOCK.pack(kind, os.SEEK_SET, place, 1, 0))
        found: int = _BYTE_LOCK.unpack(answer)[0]
        return found

    def write_all(self, fd: int, data: bytes | bytearray, offset: int) -> None:
        """Write all of `data` at `offset`, however short the kernel's single writes are."""
        done = self.pwrite(fd, data, offset)
        while done < len(data):
            done += self.pwrite(fd, memoryview(data)[done:], offset + done)

    def read_all(self, path: Path, most: int = 16 * 2**20) -> bytes:
        """Read a file whole, but for what lies behind its first `most` bytes."""
        with self.open(path, write=False) as file:
            return self.pread(file.fileno(), min(self.size(file.fileno()), most), 0)

    def copy(self, source: int, target: int, size: int, after_each: Callable[[], object] = bool) -> None:
        """Copy the first `size` bytes of one descriptor to another, in steps; calls `after_each` of them."""
        done = 0
        while done < size:
            length = min(_COPY_BYTES, size - done)
            try:
                step = os.copy_file_range(source, target, length, done, done)
            except OSError as refused:
                if refused.errno not in _NOT_BY_THE_KERNEL:
                    raise
                step = self.pwrite(target, self.pread(source, length, done), done)
            if not step:
                raise OSError(0, "the file became shorter while it was copied")
            done += step
            after_each()

    def clear(self, fd: int, start: int, end: int) -> None:
        """Make zeros of what was written behind `start`, up to the first hole or to `end`."""
        if start < end:
            written = os.lseek(fd, start, os.SEEK_HOLE)
            for offset in range(start, min(written, end), _COPY_BYTES):
                self.write_all(fd, bytes(min(_COPY_BYTES, min(written, end) - offset)), offset)

    def data_end(self, fd: int) -> int:
        """Return where the last blocks of a file end: behind that, all of it reads as zeros."""
        end = 0
        while True:
            try:
                end = os.lseek(fd, os.lseek(fd, end, os.SEEK_DATA), os.SEEK_HOLE)
            except OSError as answer:
                if answer.errno == errno.ENXIO:  # there is no further one
                    return end
                if answer.errno == errno.EINVAL:  # nobody knows where the holes are
                    return self.size(fd)
                # IMPORTANT: it is no answer. Whoever took it for one would cut what stands there.
                raise

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def allocate(self, fd: int, end: int, start: int = 0) -> None:
        """Reserve blocks for the bytes from `start` to `end`: a store through a map can then not find the
        disk full.
        """
        try:
            os.posix_fallocate(fd, start, end - start)
        except OSError as refused:
            # Not every file system can. There glibc writes zeros in its place; musl, of Alpine, does not.
            if start or refused.errno != errno.EOPNOTSUPP:
                raise
            self._write_zeros(fd, self.size(fd), end)

    def allocate_large(self, fd: int, size: int) -> None:
        """Allocate a file that will be read through a map for long, and write zeros to all of it.

        The kernel keeps pages that were written together as one large page, and finds an address in a large
        page faster. Pages that were first touched through a map stay small for ever.
        """
        self.allocate(fd, size)
        self._write_zeros(fd, 0, size)

    def _write_zeros(self, fd: int, start: int, end: int) -> None:
        for offset in range(start, end, LARGE_PAGE):
            self.write_all(fd, bytes(min(LARGE_PAGE, end - offset)), offset)

    def map(self, fd: int, size: int, *, write: bool = False) -> mmap.mmap:
        """Map the first `size` bytes, shared."""
        return mmap.mmap(fd, size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))

    def expect_lookups(self, mapped: mmap.mmap) -> None:
        """Tell the kernel to read only the pages of a map that are touched, and none ahead (MADV_RANDOM)."""
        with unless_refused():  # advice only
            mapped.madvise(mmap.MADV_RANDOM)

    def expect_a_walk(self, mapped: mmap.mmap) -> None:
        """Let the kernel read ahead in a map again, as it does by default (MADV_NORMAL)."""
        with unless_refused():
            mapped.madvise(mmap.MADV_NORMAL)

    def bring_in(self, mapped: mmap.mmap, start: int, end: int) -> None:
        """Begin to read the pages of a map within these offsets from the disk, without waiting."""
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        if first < len(mapped):
            with unless_refused():
                mapped.madvise(mmap.MADV_WILLNEED, first, min(end, len(mapped)) - first)

    def forget(self, mapped: mmap.mmap, start: int, end: int) -> None:
        """Drop the pages of a map within these offsets from our memory; they stay in the page cache."""
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if first < last:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def inode(self, fd: int) -> int:
        """The number of an open file, which no other of its device gets while it is open or mapped."""
        return os.fstat(fd).st_ino

    def identity(self, fd: int) -> tuple[int, int]:
        """Device and number of an open file, which no other has for as long as it is open or mapped."""
        found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def real(self, path: Path) -> Path:
        """Return where `path` leads, links followed; it need not exist."""
        return path.resolve()

    def is_removed(self, fd: int) -> bool:
        """Whether an open file has left the disk."""
        return os.fstat(fd).st_nlink == 0

    def allocated(self, path: Path) -> int:
        """Bytes of disk the file takes, as `du` counts them; 0 where it has just vanished."""
        try:
            return path.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            return 0

    def allocated_by(self, fd: int) -> int:
        """Bytes of disk that an open file takes."""
        return os.fstat(fd).st_blocks * 512

    def allocated_in(self, path: Path) -> int:
        """Bytes of disk that the files of a directory take; those that vanish meanwhile count as none."""
        total = 0
        with os.scandir(path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
        return total

    def free(self, path: Path) -> int:
        """Bytes that the file system of `path` has left for this user."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def owner(self, fd: int) -> int:
        return os.fstat(fd).st_uid

    def is_there(self, path: Path) -> bool:
        return path.exists()

    def is_link(self, path: Path) -> bool:
        return path.is_symlink()

    def stat(self, path: Path) -> Attributes:
        return path.stat()

    def names(self, path: Path) -> list[str]:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries)

    def make_directory(self, path: Path, mode: int) -> None:
        """Make a directory and its missing parents, durably; as root, for the owner of the next above."""
        missing = [path, *(parent for parent in path.parents if not parent.exists())]
        owner = missing[-1].parent.stat()
        path.mkdir(mode=mode, parents=True)
        path.chmod(mode)
        for made in reversed(missing):
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.chown(made, owner.st_uid, owner.st_gid)
            self.sync_directory(made.parent)

    def make_folder(self, path: Path, mode: int) -> None:
        """Make a folder in a directory, durably; permissions and owner are as of a file made there."""
        path.mkdir(mode=mode)
        _in_directory(path, lambda fd: self._adopt(fd, path, mode))
        self.sync_directory(path.parent)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        _in_directory(path, os.fsync)

    def can_write(self, path: Path) -> bool:
        return os.access(path, os.W_OK | os.X_OK, effective_ids=True)

    def memory_file(self) -> OpenFile | None:
        """Return a file in memory, which goes when it is closed; None where there are none."""
        try:
            return owned(os.memfd_create, "stratakv")
        except (AttributeError, OSError):  # Python was built for an old C library, or the kernel forbids it
            return None

    def boot_id(self) -> int:
        """A number that changes with every boot of the machine, 128 bits."""
        return int(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""), 16)

    def random_u32(self) -> int:
        return int.from_bytes(os.urandom(4), "little")

    def file_system(self, path: Path) -> str:
        """The type of the file system `path` is on, for example "ext4"; "" where it cannot be told."""
        try:
            mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        except OSError as refusal:
            check_refused(refusal)
            return ""
        device = path.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in mounts:
            left, _, right = line.partition(" - ")
            if left.split()[2] == wanted:
                return right.split()[0]
        return ""

    def allows_mapped_writes(self, file_system: str) -> bool:
        """Whether a store through a map may take the place of a `pwrite` where the file has blocks already.

        It must not find the disk full, as that would be a signal in place of an error. And other processes
        must not see it later than what is stored after it.
        """
        return file_system in _IN_PLACE and self.ORDERED
