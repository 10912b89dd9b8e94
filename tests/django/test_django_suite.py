"""Django's own tests of caches, and of what uses them, pass with StrataKV in every alias they configure."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import pytest

from tests.django.django_suite import ABOUT_NO_BACKEND, ASYNC, CONTRACT, CONTRACT_ASYNC, LEFT_OUT, NAMES

ROOT = Path(__file__).parents[2]
DOWNLOAD_SECONDS = 300
RUN_SECONDS = 300
# What is needed of Django's tests: two packages as a whole, and one module of a third.
PACKAGES = {"cache", "sessions_tests"}
MODULES = {
    "template_tests/__init__.py",
    "template_tests/utils.py",
    "template_tests/templatetags/__init__.py",
    "template_tests/templatetags/custom.py",
    "template_tests/syntax_tests/__init__.py",
    "template_tests/syntax_tests/test_cache.py",
}


@pytest.fixture(scope="module")
def django_tests(pytestconfig: pytest.Config) -> Path:
    """The `tests` directory of the source package of the Django that is installed, fetched once."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir(f"django-{django.__version__}")
    if not (kept / "tests" / "sessions_tests" / "tests.py").exists():
        _extract(_download(kept), kept)
    return kept / "tests"


def _download(into: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command = [*pip, "--dest", str(into), f"Django=={django.__version__}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        pytest.skip(f"needs the source package of Django {django.__version__} from PyPI, by pip: {error}")
    return next(path for path in into.glob("*.tar.gz") if path.name.lower().startswith("django"))


def _extract(package: Path, into: Path) -> None:
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            inner = Path(*Path(member.name).parts[1:])
            if _is_needed(inner):
                source = archive.extractfile(member)
                assert source is not None
                (into / inner).parent.mkdir(parents=True, exist_ok=True)
                (into / inner).write_bytes(source.read())


def _is_needed(path: Path) -> bool:
    """Tell if a file of the source package, named from its root on, is one that these tests run or import."""
    if path.parts[:1] != ("tests",) or path.suffix != ".py":
        return False
    return path.parts[1] in PACKAGES or path.relative_to("tests").as_posix() in MODULES


@pytest.fixture(scope="module")
def report(django_tests: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each of Django's tests; most of them sleep, so three processes share them."""
    suite = [sys.executable, "-m", "tests.django.django_suite", str(django_tests)]
    shares = ([CONTRACT], [CONTRACT_ASYNC], [ASYNC, *ABOUT_NO_BACKEND])
    merged: dict[str, Any] = {}
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [*suite, str(tmp_path_factory.mktemp("stores")), *names],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for names in shares
        ]
        for process in processes:
            running.callback(process.kill)
        for process in processes:
            output, errors = process.communicate(timeout=RUN_SECONDS)
            assert process.returncode == 0, errors
            merged |= json.loads(output)
    return merged


@pytest.mark.parametrize("name", NAMES)
def test_every_test_of_django_runs_but_those_left_out(report: dict[str, Any], name: str) -> None:
    outcome = report[name]
    left_out = set(LEFT_OUT.get(name, {}))
    assert left_out <= set(outcome["has"]), "left out, but Django has no such test"
    assert set(outcome["ran"]) == set(outcome["has"]) - left_out
    assert outcome["skipped"] == {}
    assert outcome["ran"], "nothing ran"


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_django_pass(report: dict[str, Any], name: str) -> None:
    failed = report[name]["failed"]
    assert not failed, "\n".join(f"{test}\n{trace}" for test, trace in failed.items())


def test_the_contract_of_all_backends_is_whole(report: dict[str, Any]) -> None:
    assert CONTRACT not in LEFT_OUT
    assert len(report[CONTRACT]["ran"]) >= 54  # what Django 5.2 has
