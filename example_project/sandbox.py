"""Run one command under limits: CPU and wall time, memory, file size, processes, output.

The command runs in its own session and process group, in a directory of the caller's choice, with a bare
environment and no descriptor but its three standard streams. When it ends, or exceeds a limit, everything it
started is killed. `launcher.py` sets the limits and does the killing; this module keeps the deadline and
bounds the output while it reads it.

These are limits against mistakes, not a jail for hostile code: the program sees the file system and the
network as its user does. A site that runs as root runs programs as ``nobody`` if it can (see `account`).
"""

import dataclasses
import json
import os
import pwd
import secrets
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

LAUNCHER = Path(__file__).with_name("launcher.py")
GRACE = 2.0  # seconds the launcher has to clean up after a limit
PATH = "/usr/local/bin:/usr/bin:/bin"


class SandboxError(Exception):
    """The command could not be started or supervised: this says nothing about the program."""


class Account(NamedTuple):
    uid: int
    gid: int


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one run; memory, CPU time and file size hold for each process, the others for all of them."""

    cpu_seconds: int
    wall_seconds: float
    memory_bytes: int
    file_bytes: int
    processes: int
    output_bytes: int  # of stdout and of stderr, each


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: exactly one of `exit_status` and `signal` is set; `limit` names the bound it hit."""

    exit_status: int | None
    signal: str | None
    limit: str | None
    stdout: bytes
    stderr: bytes
    seconds: float
    cpu_seconds: float
    max_rss_bytes: int


def account(executable: Path) -> Account | None:
    """The account this command should run as: ``nobody`` when the site is root, None for the site's own.

    Root's own, too, where ``nobody`` can't be had: there is none, or it may not reach the executable (an
    interpreter below /root). `Limits.processes` does not bind root; the other limits do.
    """
    if os.geteuid() != 0:
        return None
    reached = {executable, *executable.parents, *executable.resolve().parents}
    if not all(path.stat().st_mode & stat.S_IXOTH for path in reached):
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return Account(nobody.pw_uid, nobody.pw_gid)


@contextmanager
def workspace(owner: Account | None, *names: str) -> Iterator[tuple[Path, ...]]:
    """New empty directories that belong to `owner`, removed with their content at the end."""
    # Named before it is made, and not by `mkdtemp`: Ctrl-C just behind that would leave it there.
    root = Path(tempfile.gettempdir()).resolve() / f"compile-cache-{secrets.token_hex(16)}"
    try:
        root.mkdir(mode=0o700)
        directories = tuple(root / name for name in names)
        for directory in directories:
            directory.mkdir(mode=0o700)
        if owner:
            for directory in directories:
                os.chown(directory, *owner)
            # IMPORTANT: root stays ours; its owner could put a link in its place for us to clean away behind.
            root.chmod(0o711)
        yield directories
    finally:
        _remove(root)


def _remove(root: Path) -> None:
    # A program may leave directories without permissions, or nested deeper than Python can recurse.
    try:
        shutil.rmtree(root)
    except (OSError, RecursionError):
        subprocess.run(["/bin/chmod", "-R", "u+rwx", root], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["/bin/rm", "-rf", root], check=False, stderr=subprocess.DEVNULL)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    limits: Limits,
    user: Account | None = None,
    orphan: Path | None = None,
    stdin: bytes = b"",
) -> Outcome:
    """Run `command` (an absolute path and its arguments) to its end or to a limit.

    The directory `orphan` is removed should this process die meanwhile. Raises SandboxError if the command
    cannot be started.
    """
    report_end, launcher_end = os.pipe()
    with os.fdopen(report_end, "rb", buffering=0) as report, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        try:
            process = _launch(_spec(command, cwd, limits, user, orphan), given.fileno(), launcher_end)
        finally:
            os.close(launcher_end)
        with process:
            streams = Streams(process, report.fileno(), limits)
            try:
                limit = streams.read()
                facts = streams.finish(limit)
            except BaseException:  # somebody pressed Ctrl-C
                process.terminate()
                raise
    return _outcome(facts, streams, limit, limits)


def _spec(
    command: Sequence[str], cwd: Path, limits: Limits, user: Account | None, orphan: Path | None
) -> dict[str, Any]:
    cpu = limits.cpu_seconds
    return {
        "argv": [str(word) for word in command],
        "cwd": str(cwd),
        "env": {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(cwd), "TMPDIR": str(cwd)},
        "rlimits": {
            "RLIMIT_CPU": (cpu, cpu + 1),  # SIGXCPU first, SIGKILL for those who ignore it
            "RLIMIT_AS": (limits.memory_bytes, limits.memory_bytes),
            "RLIMIT_FSIZE": (limits.file_bytes, limits.file_bytes),
            "RLIMIT_NOFILE": (128, 128),
            "RLIMIT_CORE": (0, 0),
        },
        "processes": limits.processes,
        "account": user,
        "parent": os.getpid(),
        "orphan": str(orphan) if orphan else None,
    }


def _launch(spec: dict[str, Any], stdin: int, report: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(spec), str(report)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report,),
            env={},
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"cannot start the launcher: {error}") from error


class Streams:
    """What comes out of one launcher: stdout, stderr and its report, each bounded while it is read."""

    def __init__(self, process: subprocess.Popen[bytes], report: int, limits: Limits) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout, self.stderr, self.report = bytearray(), bytearray(), bytearray()
        self._process = process
        self._deadline = time.monotonic() + limits.wall_seconds
        self._bound = limits.output_bytes
        self._open = {
            process.stdout.fileno(): self.stdout,
            process.stderr.fileno(): self.stderr,
            report: self.report,
        }

    def read(self) -> str | None:
        """Read to the end of all three; returns the limit that was hit before that, if one was."""
        with selectors.DefaultSelector() as selector:
            for stream in self._open:
                selector.register(stream, selectors.EVENT_READ)
            while self._open:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return "wall time"
                for key, _ in selector.select(left):
                    if not self._take(key.fd):
                        selector.unregister(key.fd)
                    elif len(self.stdout) > self._bound or len(self.stderr) > self._bound:
                        return "output"
        return None

    def _take(self, stream: int) -> bool:
        chunk = os.read(stream, 65536)
        self._open[stream] += chunk
        if not chunk:
            del self._open[stream]
        return bool(chunk)

    def finish(self, limit: str | None) -> dict[str, Any]:
        """End the launcher, and with it everything below it; returns the facts it reported."""
        if limit:
            self._process.terminate()
            self._only_report()
        try:
            self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        facts: dict[str, Any] = {}
        for line in self.report.splitlines():
            facts |= json.loads(line)
        if "status" not in facts and "group" in facts:  # the launcher was killed, or could not finish in time
            with suppress(ProcessLookupError):
                os.killpg(facts["group"], signal.SIGKILL)
        return facts

    def _only_report(self) -> None:
        del self.stdout[self._bound :], self.stderr[self._bound :]
        self._open = {stream: data for stream, data in self._open.items() if data is self.report}
        self._deadline = time.monotonic() + GRACE
        self.read()


def _outcome(facts: dict[str, Any], streams: Streams, limit: str | None, limits: Limits) -> Outcome:
    if "error" in facts:
        raise SandboxError(facts["error"])
    if "status" not in facts:
        last_words = b"" if "group" in facts else bytes(streams.stderr[-500:])  # else they are the program's
        raise SandboxError(
            f"the launcher ended without a report {last_words.decode(errors='replace')}".strip()
        )
    code = os.waitstatus_to_exitcode(facts["status"])
    return Outcome(
        exit_status=code if code >= 0 else None,
        signal=_signal_name(-code) if code < 0 else None,
        limit=limit or _limit_behind(-code, facts["cpu_seconds"], limits),
        stdout=bytes(streams.stdout),
        stderr=bytes(streams.stderr),
        seconds=facts["seconds"],
        cpu_seconds=facts["cpu_seconds"],
        max_rss_bytes=facts["max_rss"],
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name of their own
        return f"signal {number}"


def _limit_behind(number: int, cpu_seconds: float, limits: Limits) -> str | None:
    """The kernel enforces these two; the signal tells."""
    if number == signal.SIGXFSZ:
        return "file size"
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds >= limits.cpu_seconds):
        return "CPU time"
    return None
