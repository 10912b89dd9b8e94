"""Each limit of the sandbox, against a real program that runs into it."""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from example_project import launcher, sandbox
from example_project.languages import toolchain
from example_project.sandbox import Limits, Outcome, SandboxError, workspace
from tests.support.users import let_in

MIB = 1024 * 1024
LIMITS = Limits(
    cpu_seconds=1,
    wall_seconds=20,
    memory_bytes=256 * MIB,
    file_bytes=MIB,
    processes=8,
    output_bytes=64 * 1024,
)
PYTHON = toolchain("python").executable
ACCOUNT = sandbox.account(PYTHON)


def run(program: str, limits: Limits = LIMITS, stdin: bytes = b"") -> Outcome:
    """Run a Python program in an empty directory."""
    command = [str(PYTHON), "-I", "-c", program]
    with workspace(ACCOUNT, "empty") as (empty,):
        return sandbox.run(command, cwd=empty, limits=limits, user=ACCOUNT, stdin=stdin)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # an orphan is collected by init, in its own time


def die(pids: list[int]) -> bool:
    """Whether these processes end soon; a signal that is on its way takes a moment."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_program_reads_its_input_and_its_ends_are_told_apart() -> None:
    outcome = run("import sys; print(input()); print('oh', file=sys.stderr); sys.exit(3)", stdin=b"hello\n")
    assert (outcome.stdout, outcome.stderr) == (b"hello\n", b"oh\n")
    assert (outcome.exit_status, outcome.signal, outcome.limit) == (3, None, None)


def test_a_signal_is_named() -> None:
    outcome = run("import os; os.abort()")
    assert (outcome.exit_status, outcome.signal, outcome.limit) == (None, "SIGABRT", None)


def test_a_real_time_signal_is_numbered() -> None:
    outcome = run("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 6)")
    assert (outcome.exit_status, outcome.signal) == (None, f"signal {signal.SIGRTMIN + 6}")


def test_what_the_site_ignores_still_ends_a_program() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        outcome = run("import os, signal; os.kill(os.getpid(), signal.SIGHUP)")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert outcome.signal == "SIGHUP"


def test_an_endless_loop_meets_the_cpu_limit() -> None:
    outcome = run("while True: pass")
    assert (outcome.signal, outcome.limit) == ("SIGXCPU", "CPU time")


def test_ignoring_the_cpu_signal_does_not_help() -> None:
    outcome = run("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass")
    assert (outcome.signal, outcome.limit) == ("SIGKILL", "CPU time")


def test_a_sleeper_meets_the_wall_limit_and_keeps_what_it_said() -> None:
    brief = dataclasses.replace(LIMITS, wall_seconds=1)
    outcome = run("import time; print('good night', flush=True); time.sleep(600)", brief)
    assert (outcome.limit, outcome.stdout) == ("wall time", b"good night\n")


def test_a_memory_hog_gets_no_more() -> None:
    outcome = run("b'x' * (512 * 1024 * 1024)")
    assert outcome.exit_status == 1
    assert b"MemoryError" in outcome.stderr


def test_a_flood_of_output_is_cut_while_it_is_read() -> None:
    outcome = run("import sys\nwhile True: sys.stdout.write('x' * 4096)")
    assert outcome.limit == "output"
    assert outcome.stdout == b"x" * LIMITS.output_bytes


def test_a_file_stops_growing() -> None:
    program = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "with open('big', 'wb') as file: file.write(b'x' * 2 * 1024 * 1024)"
    )
    outcome = run(program)
    assert (outcome.signal, outcome.limit) == ("SIGXFSZ", "file size")


@pytest.mark.skipif(os.geteuid() == 0 and ACCOUNT is None, reason="the limit of processes does not bind root")
def test_a_fork_bomb_is_bounded_and_cleared_away() -> None:
    outcome = run("""
import os, time
while True:
    try:
        child = os.fork()
    except BlockingIOError:
        break
    if not child:
        time.sleep(600)
    print(child, flush=True)
""")
    bombs = [int(pid) for pid in outcome.stdout.split()]
    assert 1 <= len(bombs) <= 3 * LIMITS.processes  # other processes of this account come and go meanwhile
    assert not any(map(alive, bombs))


@pytest.mark.parametrize("leave", ["", "os.setpgid(0, 0)", "os.setsid()"])
def test_a_background_process_dies_with_its_program(leave: str) -> None:
    outcome = run(f"""
import os, time
reader, writer = os.pipe()
if os.fork() == 0:
    {leave}
    if os.fork() == 0:
        os.write(writer, str(os.getpid()).encode())
        time.sleep(600)
    os._exit(0)
print(os.read(reader, 20).decode())
""")
    assert (outcome.exit_status, outcome.limit) == (0, None)
    assert not alive(int(outcome.stdout))


LIMITED_SITE = """
import ctypes, resource
from tests.example.test_sandbox import run
ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_RESOURCE: with it, root raises any limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
print(run("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))").stdout)
"""


def test_a_lower_limit_of_the_site_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED_SITE], cwd=Path(__file__).parents[2], capture_output=True, check=True
    )
    assert b"(100, 100)" in done.stdout


def test_the_environment_of_the_site_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_SECRET", "hush")
    outcome = run("""
import os
print(*sorted(os.environ))
for process in ("self", os.getppid()):
    try:
        print(open(f"/proc/{process}/environ").read())
    except PermissionError:  # the launcher is root's
        pass
""")
    assert outcome.stdout.splitlines()[0] == b"HOME LANG PATH TMPDIR"
    assert b"hush" not in outcome.stdout


def test_no_descriptor_of_the_site_is_inherited() -> None:
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_inheritable(descriptor, True)
    try:
        outcome = run(
            "import os; print([fd for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}')])"
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert outcome.stdout == b"[]\n"


def test_a_program_starts_in_an_empty_directory_that_it_may_fill() -> None:
    outcome = run("import os; print(os.listdir('.')); open('note', 'w').close(); print(os.listdir('.'))")
    assert outcome.stdout == b"[]\n['note']\n"


@pytest.mark.parametrize(
    "litter",
    [
        "import os; os.makedirs('a/b'); open('a/b/c', 'w').close(); os.chmod('a/b', 0)",
        "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')",
    ],
    ids=["locked", "deep"],
)
def test_the_directory_is_removed_whatever_was_left_in_it(litter: str) -> None:
    with workspace(ACCOUNT, "empty") as (empty,):
        outcome = sandbox.run([str(PYTHON), "-I", "-c", litter], cwd=empty, limits=LIMITS, user=ACCOUNT)
        assert outcome.exit_status == 0
        assert list(empty.iterdir())
    assert not empty.parent.exists()


@pytest.mark.skipif(ACCOUNT is None, reason="programs change their account only when the tests run as root")
def test_root_runs_programs_as_nobody() -> None:
    assert ACCOUNT is not None
    outcome = run("import os; print(os.getresuid(), os.getresgid(), os.getgroups())")
    assert outcome.stdout.decode() == f"{(ACCOUNT.uid,) * 3} {(ACCOUNT.gid,) * 3} []\n"


@pytest.mark.skipif(ACCOUNT is None, reason="only root has more rights than the programs it runs")
def test_a_program_can_not_put_a_link_where_root_cleans_away() -> None:
    outcome = run("import os; here = os.path.dirname(os.getcwd()); os.rename(here, here + '.away')")
    assert b"PermissionError" in outcome.stderr


def test_a_command_that_can_not_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="cannot start /nowhere/compiler"):
        sandbox.run(["/nowhere/compiler"], cwd=tmp_path, limits=LIMITS)


@contextmanager
def meanwhile(act: Callable[[list[int]], object]) -> Iterator[None]:
    """Once this process has a launcher and a program below it, give both to `act`, in a thread."""

    before = family(os.getpid())  # of other tests

    def watch() -> None:
        while len(below := [pid for pid in family(os.getpid()) if pid not in before]) < 2:
            time.sleep(0.05)
        act(below)

    watching = threading.Thread(target=watch)
    watching.start()
    yield
    watching.join()


def test_a_killed_launcher_is_an_error_and_takes_its_program_along() -> None:
    ended: list[bool] = []

    def kill_launcher(below: list[int]) -> None:
        first, *programs = below
        os.kill(first, signal.SIGKILL)
        ended.append(die(programs))

    with meanwhile(kill_launcher), pytest.raises(SandboxError, match="without a report"):
        run("import time; time.sleep(600)")
    assert ended == [True]


def test_a_program_does_not_begin_once_its_launcher_is_gone(tmp_path: Path) -> None:
    """Nobody would end it."""
    argv = ["/bin/sh", "-c", "echo > begun"]
    spec = {"cwd": tmp_path, "account": None, "processes": 1000, "rlimits": {}, "argv": argv, "env": {}}
    for parent, status in ((os.getpid(), 0), (1, 1)):
        program = os.fork()
        if not program:
            launcher.enter(spec, parent)
        assert os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]) == status
        assert (tmp_path / "begun").exists() == (status == 0)
        (tmp_path / "begun").unlink(missing_ok=True)


def test_a_site_that_gives_up_ends_its_program() -> None:
    programs: list[int] = []

    def give_up(below: list[int]) -> None:
        programs.extend(below)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(give_up), pytest.raises(KeyboardInterrupt):
        run("import time; time.sleep(600)")
    assert die(programs)


SITE = """
from example_project.execution import execute
from example_project.languages import toolchain
from example_project.programs import Program
program = Program("python", "import os, time; open('file', 'w'); os.fork(); time.sleep(600)")
execute(program, toolchain("python"))
"""


def test_programs_and_their_directories_go_with_a_site_that_is_killed(tmp_path: Path) -> None:
    let_in(tmp_path / "directory")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", SITE], cwd=Path(__file__).parents[2], env=environment
    ) as site:
        below: list[int] = []
        while len(below) < 3:  # the launcher, and the program twice
            below = family(site.pid)
            time.sleep(0.05)
        assert list(tmp_path.iterdir())
        site.kill()
    assert die(below)
    assert not list(tmp_path.iterdir())


def family(pid: int) -> list[int]:
    try:
        return [member for child in children(pid) for member in (child, *family(child))]
    except FileNotFoundError:  # it ended while we looked
        return []


def test_an_interrupt_as_the_directory_is_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def mkdir(path: object, mode: int = 0o777) -> None:
        real(path, mode)
        raise KeyboardInterrupt

    real: Any = os.mkdir
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(KeyboardInterrupt), workspace(None, "empty"):
        pass
    assert list(tmp_path.iterdir()) == []
