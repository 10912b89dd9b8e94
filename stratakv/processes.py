"""The part of the door to the operating system that is about processes: this one, others, their memory.

`Files` is a `Processes`. What stands outside of the class is for programs, which do it once for themselves.
"""

from __future__ import annotations

import errno
import importlib.util
import mmap
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import FileIO
from pathlib import Path
from types import BuiltinFunctionType
from typing import cast

from stratakv.interrupted import unless_refused

_ROOT = Path(__file__).parents[1]  # where this package is found
_NEEDED = ("mmh3", "xxhash")  # which it imports
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}  # which a thread has by itself
# A third of the share that others have. At 19, the lowest, a process that had the writer lock got no
# processor for a second beside two busy ones, in a control group, and all who wrote waited. At 10: 0.1 s.
_LOW_PRIORITY = 5
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# The file that has the limit of a group, by the controllers that a hierarchy of groups has: version 2, and 1.
_MEMORY_LIMITS = {
    "": (_CONTROL_GROUPS, "memory.max"),
    "memory": (_CONTROL_GROUPS / "memory", "memory.limit_in_bytes"),
}
_WIPE_ON_FORK = 18  # MADV_WIPEONFORK of <sys/mman.h>, which Python does not name
# The number of membarrier(2) on x86_64; MEMBARRIER_CMD_GLOBAL_EXPEDITED and its registration, of
# <linux/membarrier.h>.
_MEMBARRIER, _BARRIER, _JOIN = 324, 2, 4
# The number of futex(2) by machine; FUTEX_WAIT and FUTEX_WAKE of <linux/futex.h>.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine()) if sys.maxsize > 2**32 else None
_WAIT, _WAKE, _ALL = 0, 1, 2**31 - 1
_WAIT_ENDED = {errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR}  # why it may be over without being woken
_LOOK = 0.1e-3  # seconds between two looks at a word where nobody can be woken
_LONG_SEEN = 10e-3  # seconds; a processor shows others what it has stored within a microsecond


def allow_all_descriptors() -> None:
    """Let this process have as many files open as it may: a segment takes three.

    For processes that make fewer of them, and must not run out of descriptors.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a filter of system calls may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def give_way() -> None:
    """Take less of the processor and of the disk than others, for the rest of this process's life.

    The priority of the disk follows from the other one. A process that has begun a session may share the
    processors as a session, whatever its own priority is: see "The autogroup feature" in sched(7).
    """
    with suppress(OSError):  # a wish only, which a filter of system calls may refuse
        os.nice(_LOW_PRIORITY)
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(_LOW_PRIORITY))


@cache  # it takes a fifth of opening a small store
def _memory() -> int:
    limits = [os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE]
    with unless_refused(), suppress(ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kind, group = line.split(":", 2)
            if kind not in _MEMORY_LIMITS:
                continue
            root, name = _MEMORY_LIMITS[kind]
            for above in (Path(group), *Path(group).parents):
                with unless_refused(), suppress(ValueError):  # not there, or "max"
                    limits.append(int((root / above.relative_to("/") / name).read_text()))
    return min(limits)


@cache
def _system_call() -> Callable[..., int] | None:
    """Return `syscall` of the C library; None where this Python cannot call it."""
    try:
        import ctypes  # only here: most processes never need it

        function = ctypes.CDLL(None, use_errno=True).syscall
        function.argtypes, function.restype = (ctypes.c_long,) * 7, ctypes.c_long
    except (ImportError, OSError, AttributeError):
        return None
    return cast(Callable[..., int], function)


def _membarrier(command: int) -> bool:
    """Call membarrier(2); return whether it was done."""
    call = _system_call() if platform.machine() == "x86_64" and sys.maxsize > 2**32 else None
    return call is not None and call(_MEMBARRIER, command, 0, 0, 0, 0, 0) == 0


def _futex(words: memoryview, word: int, operation: int, value: int, nanoseconds: int = 0) -> bool:
    """Call futex(2) on the lower half of a word; return False where there is none."""
    call = _system_call() if _FUTEX else None
    if call is None:
        return False
    import ctypes

    place = ctypes.addressof(ctypes.c_char.from_buffer(words, words.itemsize * word))
    time = (ctypes.c_long * 2)(0, nanoseconds)
    answer = call(_FUTEX, place, operation, value, ctypes.addressof(time), 0, 0)
    return answer >= 0 or ctypes.get_errno() in _WAIT_ENDED


def _root_of(package: str) -> str:
    """Return the directory in which a package was found."""
    found = importlib.util.find_spec(package)
    assert found
    assert found.origin
    origin = Path(found.origin)
    return str(origin.parents[1] if origin.stem == "__init__" else origin.parent)


class Processes:
    """What `Files` has besides files.

    ORDERED: whether each processor sees the stores of another one in the order in which they were made.
    """

    ORDERED = platform.machine() in {"x86_64", "i686"}

    def process(self) -> int:
        return os.getpid()

    def is_running(self, process: int) -> bool:
        """Whether there is a process of this number, as far as can be seen from here."""
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):  # a damaged row may have a number that no process has
            return False
        except PermissionError:
            return True
        return True

    def user(self) -> int:
        """The effective user id."""
        return os.geteuid()

    def groups(self) -> set[int]:
        return {os.getegid(), *os.getgroups()}

    def memory(self) -> int:
        """Bytes of memory that there are for this process: the machine's, or those of its control group."""
        return _memory()

    def words_of_this_process(self) -> memoryview:
        """Return a page of 64-bit words, all 0, of which no child sees what is stored there: it finds zeros.

        However it was forked; but a kernel before Linux 4.14 lets it see what its parent has stored.
        """
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):
            page.madvise(_WIPE_ON_FORK)
        return memoryview(page).cast("Q")

    def leave_signals(self) -> None:
        """Let no signal be handled in this thread, unless it is the one that the process began with.

        The kernel may choose any thread. A handler of Python runs in the main one all the same, but one in C,
        as uWSGI's, ends the process from where it is: here, that would wait for the main thread for ever.
        """
        if threading.get_native_id() != os.getpid():  # a greenlet is no thread of its own
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)

    def start_python(
        self, module: str, *arguments: str, errors: FileIO | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a module of this package as a process of its own, with this interpreter and no terminal.

        errors: the file that it writes its errors to. Raises OSError where no interpreter is to be found: a
        program that embeds Python names itself as the executable.
        """
        for python in (sys.executable, f"{sys.prefix}/bin/python3"):
            if python and Path(python).name.startswith(("python", "pypy")) and os.access(python, os.X_OK):
                break
        else:
            raise FileNotFoundError(errno.ENOENT, "no Python interpreter", sys.executable)
        # A program that embeds Python may take packages from an environment of which the interpreter that it
        # names knows nothing. No more than those that are needed: whatever comes first hides others.
        search = dict.fromkeys(
            [str(_ROOT), *map(_root_of, _NEEDED), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        return subprocess.Popen(
            [python, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if errors is None else errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
            start_new_session=True,  # Ctrl-C and the end of a terminal are not for it
        )

    def status_of(self, child: subprocess.Popen[bytes], seconds: float) -> int | None:
        """Return the status with which a process has ended; None where after so many seconds it has not."""
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def prepare_barrier(self) -> None:
        """Do what takes 5 ms of the first `barrier` of a process."""
        _system_call()

    def join_barriers(self) -> bool:
        """Have the threads of this process take part in each `barrier`; False where there are none.

        Takes 20 ms in a process of several threads, as the kernel waits until each has been scheduled.
        """
        return _membarrier(_JOIN)

    def barrier(self) -> None:
        """Return once all processors that run a thread which takes part have passed a memory barrier.

        What these have stored before is seen by this thread then, and what they load after it is no older.
        """
        if not _membarrier(_BARRIER):  # they could take part, but this process is in a narrower sandbox
            time.sleep(_LONG_SEEN)

    def sleep_at(self, words: memoryview, word: int, value: int, seconds: float) -> None:
        """Sleep while a word that processes share has this value, but no longer than `seconds`, below 1.

        value: below 2³². It may be over sooner, too, and is where nobody can be woken, or where `time.sleep`
        was replaced, as by gevent: that lets others go on meanwhile.
        """
        if not isinstance(time.sleep, BuiltinFunctionType) or not _futex(
            words, word, _WAIT, value, int(seconds * 1e9)
        ):
            time.sleep(min(seconds, _LOOK))

    def wake_at(self, words: memoryview, word: int) -> None:
        """Wake all that sleep at a word, whose value has just been changed."""
        _futex(words, word, _WAKE, _ALL)
