"""Supervise one program: a process of its own, so that the limits are set where only one thread runs.

Started as ``python -I -S launcher.py SPEC REPORT_FD``. SPEC is the JSON text of::

    {"argv": [...], "cwd": "...", "env": {...}, "rlimits": {"RLIMIT_CPU": [soft, hard], ...},
     "processes": 16, "account": [uid, gid] or null, "parent": pid of the caller,
     "orphan": directory or null}

On REPORT_FD it writes one JSON object per line: ``{"group": pid}`` once the program has its process group,
``{"error": "..."}`` if it never started, and at the end ``{"status": ..., "seconds": ..., ...}``.

It is the *subreaper* of everything below it (prctl(2)): a process that lost its parent, or left the group
with ``setsid``, is handed to the launcher instead of to init, so nothing outlives the run. SIGTERM ends the
run. So does SIGHUP, which the launcher gets when its caller dies; it then removes "orphan", too.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False  # `typing` and `pathlib` would take half of this program's starting time
if TYPE_CHECKING:
    from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38  # linux/prctl.h


def prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def tell(report: int, **facts: Any) -> None:
    os.write(report, json.dumps(facts).encode() + b"\n")


def tasks_of(uid: int) -> int:
    """How many processes and threads `uid` has besides this one: RLIMIT_NPROC counts them, too."""
    count, this = 0, str(os.getpid())
    for process in os.scandir("/proc"):
        try:
            if process.name.isdecimal() and process.name != this and process.stat().st_uid == uid:
                count += sum(1 for _ in os.scandir(f"/proc/{process.name}/task"))
        except OSError:  # it ended while we looked
            continue
    return count


def limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, or leave the site's own where that is lower: only root could raise it."""
    own = resource.getrlimit(kind)[1]
    if own != resource.RLIM_INFINITY:
        soft, hard = min(soft, own), min(hard, own)
    resource.setrlimit(kind, (soft, hard))


def enter(spec: dict[str, Any], launcher: int) -> NoReturn:
    """Become the program: own session and group, limits, unprivileged user, bare environment."""
    os.setsid()
    os.umask(0o077)
    os.chdir(spec["cwd"])
    uid = spec["account"][0] if spec["account"] else os.getuid()
    processes = tasks_of(uid) + spec["processes"]
    limit(resource.RLIMIT_NPROC, processes, processes)
    for name, bounds in spec["rlimits"].items():
        limit(getattr(resource, name), *bounds)
    if spec["account"]:
        os.setgroups([])
        os.setresgid(*[spec["account"][1]] * 3)
        os.setresuid(*[uid] * 3)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
    if os.getppid() != launcher:  # it died before the line above
        os._exit(1)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Python ignores SIGPIPE; the site perhaps more: SIGHUP under nohup, SIGINT in a script's background.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


def children() -> list[int]:
    """Our children; none on a kernel that does not list them, where only the program's group is killed."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor) as file:
        return [int(child) for child in file.read().split()]


def kill(group: int) -> None:
    """SIGKILL the program's group, and what left it: a child of ours now, or once its parent dies."""
    for stop, target in ((os.killpg, group), *((os.kill, child) for child in children())):
        try:
            stop(target, signal.SIGKILL)
        except ProcessLookupError:
            continue


def reap_all(group: int) -> None:
    """Kill and collect until nothing is left below us; each death may hand us more children."""
    while True:
        kill(group)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def remove_orphan(spec: dict[str, Any]) -> NoReturn:
    """Clean away for a caller that has died, and end."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one for each thread of the caller that dies: spare rm
    if spec["orphan"]:
        os.execv("/bin/rm", ["rm", "-rf", spec["orphan"]])
    sys.exit(1)


def abandon(group: int, spec: dict[str, Any]) -> NoReturn:
    reap_all(group)
    remove_orphan(spec)


def leave_pipes() -> None:
    """Let go of the program's standard streams, so that the caller sees their end when the program ends."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)


def start(spec: dict[str, Any], report: int) -> int:
    launcher = os.getpid()
    group = os.fork()
    if group:
        return group
    try:
        enter(spec, launcher)
    except BaseException as error:
        tell(report, error=f"cannot start {spec['argv'][0]}: {error}")
        os._exit(127)


def supervise(spec: dict[str, Any], report: int) -> None:
    # IMPORTANT: no signal between fork and handlers; it would leave the program without its supervisor
    ends = [signal.SIGTERM, signal.SIGHUP]
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != spec["parent"]:  # it died before the line above
        remove_orphan(spec)
    began = time.monotonic()
    group = start(spec, report)
    signal.signal(signal.SIGTERM, lambda *_: kill(group))
    signal.signal(signal.SIGHUP, lambda *_: abandon(group, spec))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    tell(report, group=group)
    leave_pipes()
    _, status, usage = os.wait4(group, 0)
    seconds = time.monotonic() - began
    reap_all(group)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    tell(report, status=status, seconds=seconds, cpu_seconds=cpu_seconds, max_rss=usage.ru_maxrss * 1024)


if __name__ == "__main__":
    report_fd = int(sys.argv[2])
    os.set_inheritable(report_fd, False)
    supervise(json.loads(sys.argv[1]), report_fd)
