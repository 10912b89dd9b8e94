"""The page in a real browser: a miss, a hit, and a picture of each.

STRATAKV_SCREENSHOTS names a directory that keeps the pictures.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.example.conftest import Server
from tests.example.webdriver import CHROMEDRIVER, CHROMIUM, Page, browse

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs a browser (Debian packages chromium and chromium-driver)"
)
BADGE = "document.querySelector('#badge')?.textContent"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    directory = Path(os.environ.get("STRATAKV_SCREENSHOTS", tmp_path / "screenshots"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browse(tmp_path / "profile") as page:
        yield page


def size_of_png(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    assert len(data) > 20_000  # bytes; an empty page is far below
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def run(page: Page, badge: str) -> None:
    page.click("#run")
    page.wait_for(f"{BADGE} === '{badge}'")


def test_a_program_is_a_miss_and_then_a_hit(page: Page, server: Server, pictures: Path) -> None:
    page.resize(1400, 1000)
    page.open(f"{server.url}/?sample=sudoku")
    assert page.evaluate(BADGE) is None
    for badge in ("miss", "hit"):
        run(page, badge)
        page.screenshot(pictures / f"{badge}.png")
        assert size_of_png(pictures / f"{badge}.png") == (1400, 1000)
        assert "8 1 2 | 7 5 3 | 6 4 9" in page.evaluate("document.querySelector('.stdout').textContent")
    assert page.evaluate("document.querySelector('.paint').textContent.trim() === source.value.trim()")
    assert page.evaluate("document.querySelectorAll('.paint .k').length") > 10


def test_the_page_fits_a_telephone(page: Page, server: Server, pictures: Path) -> None:
    page.resize(390, 844)
    page.open(f"{server.url}/?sample=word_count")
    run(page, "miss")
    assert page.evaluate("answer.getBoundingClientRect().top < innerHeight / 2")
    page.screenshot(pictures / "telephone.png")
    assert size_of_png(pictures / "telephone.png") == (390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_site_that_went_away_is_told(page: Page, server: Server) -> None:
    page.open(server.url)
    page.evaluate("form.action = 'http://127.0.0.1:9/'")
    page.click("#run")
    page.wait_for("document.querySelector('.failed')?.textContent.startsWith('Not run:')")
