"""The example site on a cache of its own, in this process or served by a process of its own."""

import dataclasses
import importlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

PROJECT = Path(__file__).resolve().parents[2]
MANAGE = PROJECT / "example_project" / "manage.py"


@dataclasses.dataclass(frozen=True)
class Server:
    """A running site: its address, and the environment that reaches the same cache."""

    url: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def site_settings(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATAKV_DEMO_VAR", str(tmp_path_factory.mktemp("var")))
        return importlib.import_module("example_project.settings")


@pytest.fixture
def site(settings: Settings, site_settings: ModuleType, tmp_path: Path) -> Settings:
    """This process has the site's settings, and an empty cache."""
    for name in filter(str.isupper, dir(site_settings)):
        if name != "LOGGING":
            setattr(settings, name, getattr(site_settings, name))
    settings.CACHES = {"default": {**site_settings.CACHES["default"], "LOCATION": tmp_path / "cache"}}
    return settings


@pytest.fixture
def browser(site: Settings) -> Client:
    """A client on this machine that checks CSRF tokens as a real site does."""
    return Client(enforce_csrf_checks=True, headers={"host": "localhost"})


@pytest.fixture
def site_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that runs the site with its own `var`."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return kept | {"STRATAKV_DEMO_VAR": str(tmp_path / "var")}


@pytest.fixture
def server(site_environment: dict[str, str]) -> Iterator[Server]:
    """`manage.py runserver` on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(MANAGE), "runserver", "--noreload", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, env=site_environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/", process)
        yield Server(f"http://127.0.0.1:{port}", site_environment)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the site did not start")
