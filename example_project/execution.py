"""Compile a program and run it, each step in the sandbox; nothing here knows of a cache."""

import os
from pathlib import Path

from example_project import sandbox
from example_project.languages import Toolchain
from example_project.programs import Program, Result, Stage
from example_project.sandbox import Limits, Outcome, SandboxError

MIB = 1024 * 1024
COMPILE_LIMITS = Limits(
    cpu_seconds=15,
    wall_seconds=30,
    memory_bytes=2048 * MIB,
    file_bytes=64 * MIB,
    processes=32,
    output_bytes=64 * 1024,
)
RUN_LIMITS = Limits(
    cpu_seconds=5,
    wall_seconds=10,
    memory_bytes=512 * MIB,
    file_bytes=8 * MIB,
    processes=16,
    output_bytes=256 * 1024,
)


def execute(program: Program, tools: Toolchain) -> Result:
    """Compile if the language asks for it, and run if that went well.

    Raises sandbox.SandboxError when a step could not be started.
    """
    try:
        return _compile_and_run(program, tools)
    except OSError as error:  # a full or missing temporary directory, no descriptors left
        raise SandboxError(f"cannot set up the sandbox: {error}") from error


def _compile_and_run(program: Program, tools: Toolchain) -> Result:
    user = sandbox.account(tools.executable)
    with sandbox.workspace(user, "build", "run") as (build, empty):
        source = build / f"main{tools.language.suffix}"
        # IMPORTANT: "x" follows no link. Other programs of this user can put one here, and we may be root.
        with source.open("x", encoding="utf-8", newline="") as file:
            file.write(program.source)
            os.fchmod(file.fileno(), 0o644)
        around = build.parent
        compiled = None
        if command := tools.compile_command(source.name, "program"):
            outcome = sandbox.run(command, cwd=build, limits=COMPILE_LIMITS, user=user, orphan=around)
            compiled = _stage(outcome, build)
            if not compiled.ok:
                return Result(tools.version, compiled, None)
        outcome = sandbox.run(
            tools.run_command(source, build / "program"),
            cwd=empty,
            limits=RUN_LIMITS,
            user=user,
            orphan=around,
            stdin=program.stdin.encode(),
        )
        return Result(tools.version, compiled, _stage(outcome, build))


def _stage(outcome: Outcome, build: Path) -> Stage:
    return Stage(
        exit_status=outcome.exit_status,
        signal=outcome.signal,
        limit=outcome.limit,
        stdout=_text(outcome.stdout, build),
        stderr=_text(outcome.stderr, build),
        milliseconds=outcome.seconds * 1000,
        cpu_milliseconds=outcome.cpu_seconds * 1000,
        max_rss_bytes=outcome.max_rss_bytes,
    )


def _text(output: bytes, build: Path) -> str:
    # The directory has another name in each run; without it a traceback reads the same every time.
    return output.replace(f"{build}/".encode(), b"").decode(errors="replace")
