"""The compilers of this machine come and go while the site runs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example_project import languages, sandbox
from example_project.languages import MissingCompilerError, toolchain


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Install a script as a compiler, in the only directory that is looked into."""
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path))
    languages._executables.cache_clear()

    def install(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    yield install
    languages._executables.cache_clear()  # the other tests want the real ones


def test_an_upgrade_changes_the_version(compiler: Callable[[str, str], Path]) -> None:
    compiler("gcc", "echo gcc 12")
    assert toolchain("c").version == "gcc 12"
    compiler("gcc", "echo gcc 13.1")
    assert toolchain("c").version == "gcc 13.1"


def test_the_next_compiler_stands_in_for_one_that_was_removed(compiler: Callable[[str, str], Path]) -> None:
    gcc = compiler("gcc", "echo gcc 12")
    compiler("clang", "echo clang 16")
    assert toolchain("c").version == "gcc 12"
    gcc.unlink()
    assert toolchain("c").version == "clang 16"


def test_a_broken_compiler_is_none(compiler: Callable[[str, str], Path]) -> None:
    compiler("gcc", "exit 3")
    with pytest.raises(MissingCompilerError):
        toolchain("c")


def test_a_compiler_is_found_once_it_is_installed(compiler: Callable[[str, str], Path]) -> None:
    with pytest.raises(MissingCompilerError):
        toolchain("c")
    compiler("gcc", "echo gcc 12")
    assert toolchain("c").version == "gcc 12"
