"""`manage.py demo` as a user calls it."""

import io
import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from example_project import languages, sandbox
from example_project.samples import samples
from tests.example.conftest import MANAGE
from tests.support.users import let_in


def demo(environment: dict[str, str], *options: str) -> str:
    """The output of the command, started in another directory."""
    command = [sys.executable, str(MANAGE), "demo", *options]
    return subprocess.run(
        command, env=environment, cwd="/", stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_the_table_names_every_sample_and_says_how_to_go_on(
    site_environment: dict[str, str], tmp_path: Path
) -> None:
    table = demo(site_environment)
    assert all(f"{sample.name} " in table for sample in samples().values())
    assert "example_project/manage.py runserver" in table
    assert "\x1b" not in table
    secret = tmp_path / "var" / "secret_key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_each_sample_is_cold_and_then_a_hit_every_time(site_environment: dict[str, str]) -> None:
    for _ in range(2):
        rows = json.loads(demo(site_environment, "--format", "json"))
        assert [row["program"] for row in rows] == list(samples())
        for row in rows:
            assert row["skipped"] or (row["cold"], row["warm"]) == ("miss", "hit")
            assert row["skipped"] or row["ratio"] == row["cold_ms"] / row["warm_ms"]
    assert rows[-1]["language"] == "Python"
    assert rows[-1]["outcome"] == "exit status 0"


def test_ctrl_c_ends_it_without_a_traceback(site_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    let_in(tmp_path / "programs" / "directory")
    environment = site_environment | {"TMPDIR": str(tmp_path / "programs")}
    command = [sys.executable, str(MANAGE), "demo"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and not any((tmp_path / "programs").iterdir()):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
    assert not any((tmp_path / "programs").iterdir())


@pytest.fixture
def only_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without compilers."""
    python = languages.toolchain("python")
    languages._executables.cache_clear()
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path))
    (tmp_path / "python3").symlink_to(python.executable)


@pytest.mark.usefixtures("site", "only_python")
def test_a_missing_compiler_is_a_row_that_says_so() -> None:
    out = io.StringIO()
    call_command("demo", format="json", stdout=out)
    skipped = {row["language"]: row["skipped"] for row in json.loads(out.getvalue())}
    assert skipped == {
        "C++": "no C++ compiler here (g++ or clang++ on the PATH)",
        "C": "no C compiler here (gcc or clang or cc on the PATH)",
        "Python": None,
    }


@pytest.mark.usefixtures("only_python")
def test_a_warm_run_that_was_no_hit_is_a_failure(site: Settings) -> None:
    site.CACHES["default"]["OPTIONS"] = {"read_only": True}  # of a store that is not there
    out = io.StringIO()
    with pytest.raises(CommandError, match="json_report, sudoku, word_count"):
        call_command("demo", stdout=out)
    assert "no C compiler here" in out.getvalue()
