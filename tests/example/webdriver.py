"""A headless Chromium, driven through chromedriver's HTTP interface (W3C WebDriver), as far as tests need."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",  # Chromium's own sandbox does not start as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 30.0  # seconds


class Page:
    """One browser window."""

    def __init__(self, driver_url: str, profile: Path) -> None:
        self._url = driver_url
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self._call("POST", "/session", capabilities=wanted)
        self._url += f"/session/{session['sessionId']}"

    def open(self, url: str) -> None:
        self._call("POST", "/url", url=url)

    def resize(self, width: int, height: int) -> None:
        """Give the page this many CSS pixels, also fewer than a window may have."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._call("POST", "/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def click(self, selector: str) -> None:
        element = self._call("POST", "/element", using="css selector", value=selector)
        self._call("POST", f"/element/{next(iter(element.values()))}/click")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self._call("POST", "/execute/sync", script=f"return {expression}", args=[])

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        _until(lambda: self.evaluate(expression), f"never true: {expression}")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        self._call("DELETE", "")

    def _call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)["value"]


@contextmanager
def browse(profile: Path) -> Iterator[Page]:
    """A new browser with an empty profile in this directory."""
    assert CHROMEDRIVER is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen([CHROMEDRIVER, f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        _until(lambda: _ready(f"http://127.0.0.1:{port}/status"), "chromedriver did not start")
        page = Page(f"http://127.0.0.1:{port}", profile)
        try:
            yield page
        finally:
            page.close()
    finally:
        driver.terminate()
        driver.wait(timeout=PATIENCE)


def _ready(status_url: str) -> bool:
    try:
        with urllib.request.urlopen(status_url, timeout=PATIENCE) as response:
            return bool(json.load(response)["value"]["ready"])
    except urllib.error.URLError:
        return False


def _until(holds: Callable[[], Any], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
