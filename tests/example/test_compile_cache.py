"""What is a hit, what is stored, and that equal requests are worked on once."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings

from example_project import execution, sandbox
from example_project.compile_cache import Answer, answer, key_for
from example_project.languages import LANGUAGES, MissingCompilerError, Toolchain, toolchain
from example_project.programs import MAX_TEXT_BYTES, Program, ProgramTooLargeError, Result, Stage
from stratakv_django.cache import StrataKVCache
from tests.support.children import Child

CLOCK = "import time\ntime.sleep({seconds})\nprint(time.time_ns())"
GCC = Toolchain(LANGUAGES["c"], Path("/usr/bin/gcc"), "gcc 12.2.0")


def has(language: str) -> bool:
    try:
        toolchain(language)
    except MissingCompilerError:
        return False
    return True


needs_cpp = pytest.mark.skipif(not has("cpp"), reason="needs a C++ compiler (Debian package g++)")


def printed(found: Answer) -> str:
    assert found.result.run
    return found.result.run.stdout


def test_the_key_is_the_documented_digest() -> None:
    program = Program("c", "int main(void) { return 0; }\n", "input")
    assert key_for(program, GCC) == "program:80aaa28d6a157cd7dc7873d8fbca86432a26f9314da6a21ba9927dda4e07d407"


@pytest.mark.parametrize(
    ("program", "tools"),
    [
        (Program("cpp", "source", "stdin"), GCC),
        (Program("c", "source2", "stdin"), GCC),
        (Program("c", "source", "stdin2"), GCC),
        (Program("c", "sources", "tdin"), GCC),
        (Program("c", "source", "stdin"), dataclasses.replace(GCC, version="gcc 12.2.1")),
        (
            Program("c", "source", "stdin"),
            dataclasses.replace(GCC, language=dataclasses.replace(GCC.language, flags=("-O2",))),
        ),
    ],
    ids=["language", "source", "stdin", "boundary", "version", "flags"],
)
def test_each_part_changes_the_key(program: Program, tools: Toolchain) -> None:
    assert key_for(program, tools) != key_for(Program("c", "source", "stdin"), GCC)


@pytest.mark.usefixtures("site")
def test_the_second_request_is_a_hit_with_the_same_result() -> None:
    program = Program("python", CLOCK.format(seconds=0), "")
    first, second = answer(program), answer(program)
    assert (first.state, second.state) == ("miss", "hit")
    assert first.result == second.result
    assert first.milliseconds.keys() == {"lookup", "wait", "sandbox", "run", "store", "total"}
    assert second.milliseconds.keys() == {"lookup", "total"}


@pytest.mark.usefixtures("site")
def test_input_reaches_the_program_and_is_part_of_the_key() -> None:
    echo = "print(input().upper())"
    assert [printed(answer(Program("python", echo, name))) for name in ("ada", "grace")] == [
        "ADA\n",
        "GRACE\n",
    ]


@pytest.mark.usefixtures("site")
def test_a_failed_run_is_cached_like_any_other() -> None:
    program = Program("python", "raise SystemExit('no')")
    first, second = answer(program), answer(program)
    assert second.state == "hit"
    assert first.result.run
    assert (first.result.run.exit_status, first.result.run.stderr) == (1, "no\n")


@needs_cpp
@pytest.mark.usefixtures("site")
def test_a_failed_compilation_is_cached_with_its_diagnostics() -> None:
    program = Program("cpp", "int main() { return nothing; }")
    first, second = answer(program), answer(program)
    assert second.state == "hit"
    assert first.result == second.result
    assert first.result.run is None
    assert first.result.compile
    assert first.result.compile.exit_status == 1
    assert first.result.compile.stderr.startswith("main.cpp: In function")


@needs_cpp
@pytest.mark.usefixtures("site")
def test_a_compiled_program_finds_an_empty_directory() -> None:
    source = """
        #include <filesystem>
        #include <iostream>
        int main() { std::cout << std::filesystem::is_empty("."); }
    """
    found = answer(Program("cpp", source))
    assert printed(found) == "1"
    assert found.milliseconds.keys() == {"lookup", "wait", "sandbox", "compile", "run", "store", "total"}


@pytest.mark.usefixtures("site")
def test_a_traceback_does_not_name_the_temporary_directory() -> None:
    found = answer(Program("python", "1 / 0"))
    assert found.result.run
    assert 'File "main.py", line 1' in found.result.run.stderr


@pytest.mark.usefixtures("site")
def test_a_sandbox_that_does_not_start_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Result:
        raise sandbox.SandboxError("no processes left")

    program = Program("python", "print(1)")
    with monkeypatch.context() as patch:
        patch.setattr(execution, "execute", broken)
        with pytest.raises(sandbox.SandboxError):
            answer(program)
    assert not cast("StrataKVCache", cache).lock(key_for(program, toolchain("python"))).locked()
    later = answer(program)
    assert (later.state, printed(later)) == ("miss", "1\n")


@pytest.mark.parametrize(
    ("change", "ttl"),
    [
        ({"exit_status": 0}, None),
        ({"signal": "SIGKILL", "limit": "wall time"}, 60.0),
        ({"signal": "SIGKILL", "limit": "CPU time"}, None),
        ({"signal": "SIGKILL"}, 60.0),
        ({"signal": "SIGSEGV"}, None),
        ({"exit_status": 1, "stderr": "no such variable"}, None),
        ({"exit_status": 1, "stderr": "ld: final link failed: No space left on device"}, 60.0),
        ({"exit_status": 1, "stderr": "fork: Resource temporarily unavailable"}, 60.0),
        ({"exit_status": 1, "stderr": "RuntimeError: can't start new thread"}, 60.0),
        ({"exit_status": 1, "stderr": "g++: fatal error: Killed signal terminated program cc1plus"}, 60.0),
        ({"signal": "SIGABRT", "stderr": "what():  Resource temporarily unavailable"}, 60.0),
        ({"exit_status": 0, "stderr": "No space left on device"}, None),
    ],
    ids=str,
)
def test_a_result_that_may_be_the_fault_of_the_machine_expires(
    change: dict[str, Any], ttl: float | None
) -> None:
    stage = dataclasses.replace(Stage(None, None, None, "", "", 1.0, 1.0, 1), **change)
    assert Result("", stage, None).ttl == Result("", None, stage).ttl == ttl


def test_a_source_is_not_written_through_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")

    @contextmanager
    def prepared(*_: object) -> Iterator[tuple[Path, Path]]:
        (tmp_path / "main.py").symlink_to(victim)  # what another program, quick enough, could do
        yield tmp_path, tmp_path

    monkeypatch.setattr(sandbox, "workspace", prepared)
    with pytest.raises(sandbox.SandboxError, match="File exists"):
        execution.execute(Program("python", "print(1)"), toolchain("python"))
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("field", ["source", "stdin"])
def test_a_program_has_a_largest_size(field: str) -> None:
    Program(**{"language": "c", "source": "", field: "x" * MAX_TEXT_BYTES})
    with pytest.raises(ProgramTooLargeError, match=field):
        Program(**{"language": "c", "source": "", field: "ü" * (MAX_TEXT_BYTES // 2) + "x"})


@pytest.mark.usefixtures("site")
def test_equal_requests_of_threads_compile_once() -> None:
    program = Program("python", CLOCK.format(seconds=1))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(answer, [program] * 6))
    assert len({printed(each) for each in found}) == 1
    assert sorted(each.state for each in found) == ["joined"] * 5 + ["miss"]


PROCESS = """
import django, json, sys
django.setup()
from example_project.compile_cache import answer
from example_project.programs import Program
found = answer(Program("python", sys.argv[1]))
print(json.dumps([found.state, found.result.run.stdout]))
"""


def test_equal_requests_of_processes_compile_once(site_environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", PROCESS, CLOCK.format(seconds=2)]
    environment = site_environment | {"DJANGO_SETTINGS_MODULE": "example_project.settings"}

    def ask(_: int) -> list[str]:
        project = Path(__file__).parents[2]
        done = subprocess.run(command, env=environment, cwd=project, stdout=subprocess.PIPE, check=True)
        state, output = json.loads(done.stdout)
        return [state, output]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len({output for _, output in found}) == 1
    assert [state for state, _ in found].count("miss") == 1


@pytest.mark.usefixtures("site")
def test_a_waiting_request_takes_over_from_a_dead_one() -> None:
    program = Program("python", "print('done')")
    heard, told = os.pipe()

    def hold() -> None:
        lock = cast("StrataKVCache", cache).lock(key_for(program, toolchain("python")))
        lock.acquire()
        os.write(told, b".")
        time.sleep(600)

    holder = Child(hold)
    os.read(heard, 1)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(answer, program)
        time.sleep(0.5)
        assert not waiting.done()
        holder.kill()
        found = waiting.result(20)
    assert (found.state, printed(found)) == ("miss", "done\n")
    assert found.milliseconds["wait"] >= 400


def test_a_cache_that_gives_no_lock_costs_no_answer(site: Settings) -> None:
    site.CACHES["default"]["OPTIONS"] = {"read_only": True}  # of a store that is not there
    assert [answer(Program("python", "print('done')")).state for _ in range(2)] == ["miss", "miss"]
