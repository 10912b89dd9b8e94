"""Every block of the documentation runs: a page's blocks in their order, in one empty directory."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import CacheHandler
from pytest_django.fixtures import Settings

from stratakv_django import handles
from tests.docs.pages import PAGES, ROOT, SET_UP, Block, blocks, name

# Blocks of these would take minutes, run the tests inside the tests, or wait for a browser. Their commands
# are only looked up, as are all that stand behind a prompt.
LOOKED_UP = {"CONTRIBUTING.md", "docs/benchmarks.md", "docs/example.md"}
SECONDS = 120
RUN = [page for page in PAGES if name(page) not in LOOKED_UP and blocks(page, "sh", "python")]
NEEDED = {"curl": "curl", "stratakv serve": "stratakv[server]"}


def run_sh(block: Block, directory: Path) -> str:
    """Run a block as a user would who has this Python on the path; nothing it starts outlives it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=directory,
        env={**os.environ, "PATH": path, "NO_PROXY": "127.0.0.1,localhost"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        left_over = end_session(process.pid)
        process.wait()
    assert process.returncode == 0, f"line {block.line} ends with status {process.returncode}:\n{output}"
    assert not left_over, f"line {block.line} leaves processes behind"
    return output


def end_session(leader: int) -> bool:
    """Kill what is left of the session of the process `leader`; return whether anything was."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def skip_without_needs(texts: list[str]) -> None:
    for sign, needed in NEEDED.items():
        if not any(sign in text for text in texts):
            continue
        there = shutil.which(needed) if needed == "curl" else importlib.util.find_spec("uvicorn")
        if not there:
            pytest.skip(f"needs {needed}")


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A site that has the cache of the pages."""
    settings.CACHES = {
        "default": {"BACKEND": "stratakv_django.cache.StrataKVCache", "LOCATION": str(tmp_path / "cache")}
    }
    yield
    handles.close_all()


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [block for block in blocks(page, "sh", "python") if not block.text.startswith(SET_UP)]
    skip_without_needs([block.text for block in found])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        if block.language == "sh":
            run_sh(block, tmp_path)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
    if "CACHES" in names:
        check_caches(names["CACHES"], tmp_path)


def check_caches(settings: dict[str, dict[str, Any]], directory: Path) -> None:
    """The caches that a page shows work as they stand, but for the directory they are in."""
    for alias, given in settings.items():
        cache = CacheHandler({"default": {**given, "LOCATION": str(directory / alias)}})["default"]
        cache.set("key", "value")
        assert cache.get("key") == "value"


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="status 1"):
        run_sh(Block("sh", "false | cat\n", 1), tmp_path)
    with pytest.raises(AssertionError, match="leaves processes behind"):
        run_sh(Block("sh", "sleep 100 >/dev/null 2>&1 &\n", 1), tmp_path)


# -- commands that are only looked up ------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of a page that is not run."""
    texts = [block.text for block in blocks(page, "sh")] if name(page) in LOOKED_UP else []
    for block in blocks(page, "console"):
        texts.append("\n".join(re.findall(r"^\$ ((?:.*\\\n)*.*)$", block.text, re.MULTILINE)))
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s&&\s", line):
                if words := shlex.split(part, comments=True):
                    yield words


def check_command(words: list[str]) -> str:
    """Return what is wrong with a command, "" where all that it names exists."""
    while words and re.fullmatch(r"STRATAKV_\w+=.*", words[0]):
        variable = words.pop(0).partition("=")[0]
        if not any(variable in path.read_text() for path in ROOT.rglob("*.py") if ".venv" not in path.parts):
            return f"nothing reads {variable}"
    program, rest = Path(words[0]).name, words[1:]
    if program in ("python", "python3"):
        return check_python(rest)
    if program in ("pip", "ruff", "mypy", "curl"):
        return ""
    if program == "pytest":
        return check_pytest(rest)
    return "" if (ROOT / words[0]).is_file() else f"{words[0]} is no program"


def check_python(words: list[str]) -> str:
    """Ask the command for its help, which it has only if it exists."""
    if words[:2] == ["-m", "pytest"]:
        return check_pytest(words[2:])
    if words[:2] == ["-m", "venv"]:
        return ""
    if words[0] != "-m" and not (ROOT / words[0]).is_file():
        return f"{words[0]} is not there"
    command = words[: 3 if words[0] == "-m" else 2]
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else f"{command}: {done.stderr}"


def check_pytest(words: list[str]) -> str:
    missing = [
        word for word in words if word.startswith("tests") and not (ROOT / word.split("::")[0]).exists()
    ]
    return f"{missing} not there" if missing else ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_not_run_exist(page: Path) -> None:
    assert [problem for words in commands(page) if (problem := check_command(words))] == []


@pytest.mark.parametrize(
    "line",
    [
        "python -m no_such_module",
        "python -m benchmarks nothing",
        "python example_project/manage.py no_such_command",
        "pytest tests/nowhere",
        "nope",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    assert check_command(shlex.split(line))
