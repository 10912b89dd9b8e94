"""Which languages this machine can compile or run, with which compiler, version and flags."""

import dataclasses
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from example_project import sandbox


class MissingCompilerError(Exception):
    """This machine has no compiler for the language; the message names what was looked for."""


@dataclasses.dataclass(frozen=True)
class Language:
    """A language and how its compiler, or interpreter, is called. The flags are part of every cache key."""

    slug: str
    title: str
    suffix: str
    executables: tuple[str, ...]  # names on PATH, the first that is found wins
    flags: tuple[str, ...]
    compiled: bool


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """A language with the compiler that this machine has for it."""

    language: Language
    executable: Path
    version: str

    def compile_command(self, source: str, program: str) -> tuple[str, ...] | None:
        """The command that makes `program` from `source`; None for a language that is not compiled."""
        if not self.language.compiled:
            return None
        return (str(self.executable), source, "-o", program, *self.language.flags)

    def run_command(self, source: Path, program: Path) -> tuple[str, ...]:
        if self.language.compiled:
            return (str(program),)
        return (str(self.executable), *self.language.flags, str(source))


LANGUAGES = {
    language.slug: language
    for language in (
        Language("cpp", "C++", ".cpp", ("g++", "clang++"), ("-std=c++20", "-O2", "-Wall", "-Wextra"), True),
        Language(
            "c", "C", ".c", ("gcc", "clang", "cc"), ("-std=c17", "-O2", "-Wall", "-Wextra", "-lm"), True
        ),
        Language("python", "Python", ".py", ("python3",), ("-I", "-B"), False),
    )
}


def toolchain(slug: str) -> Toolchain:
    """The toolchain for a language. Raises KeyError for an unknown one, MissingCompilerError without one."""
    language = LANGUAGES[slug]
    for executable in _executables(language):
        with suppress(OSError, subprocess.SubprocessError):  # removed since it was found, or broken
            found = executable.stat()
            return Toolchain(language, executable, _version(executable, found.st_mtime_ns, found.st_size))
    _executables.cache_clear()  # one may be installed before the next request
    names = " or ".join(language.executables)
    raise MissingCompilerError(f"no {language.title} compiler here ({names} on the PATH)")


def toolchains() -> list[Toolchain]:
    """What this machine can run, in the order it is offered."""
    return list(_present())


def _present() -> Iterator[Toolchain]:
    for slug in LANGUAGES:
        try:
            yield toolchain(slug)
        except MissingCompilerError:
            continue


@functools.cache
def _executables(language: Language) -> list[Path]:
    """What is on the PATH now, best first."""
    found = [Path(path) for name in language.executables if (path := shutil.which(name, path=sandbox.PATH))]
    if language.slug == "python":
        # Not the virtual environment's link: programs get the standard library, not the site's packages.
        found.insert(0, Path(sys.executable).resolve())
    restricted = [path for path in found if sandbox.account(path)]
    return restricted + found


@functools.cache
def _version(executable: Path, modified_ns: int, size: int) -> str:
    """The first line of ``--version``; asked again when the file has changed: an upgrade changes keys."""
    answer = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.splitlines()[0].strip()
