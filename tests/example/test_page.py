"""The page as a browser without scripts uses it."""

import html
import re

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from example_project.samples import samples

FORM = {"language": "python", "source": "print(input())\r\nprint('<b>')\r\n", "stdin": "hello\r\n"}


def token(browser: Client) -> dict[str, str]:
    page = browser.get("/").content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found
    return {"csrfmiddlewaretoken": found[1]}


def badge(page: str) -> str | None:
    found = re.search(r'id="badge" class="badge">(\w+)<', page)
    return found and found[1]


def test_a_form_runs_a_program_once_and_keeps_it_in_the_editor(browser: Client) -> None:
    form = FORM | token(browser)
    first, second = (browser.post("/", form).content.decode() for _ in range(2))
    assert (badge(first), badge(second)) == ("miss", "hit")
    for page in (first, second):
        assert "hello\n&lt;b&gt;\n</pre>" in page
        assert html.escape("print(input())\nprint('<b>')\n") in page


def test_a_form_and_the_api_share_an_entry(browser: Client) -> None:
    browser.post("/", FORM | token(browser))
    body = {name: text.replace("\r\n", "\n") for name, text in FORM.items()}
    assert browser.post("/api/run", body, content_type="application/json").json()["state"] == "hit"


def test_the_script_gets_the_answer_alone(browser: Client) -> None:
    response = browser.post("/", FORM | token(browser), headers={"x-part": "answer"})
    assert response["X-Part"] == "answer"
    assert badge(response.content.decode()) == "miss"
    assert "<form" not in response.content.decode()


def test_the_page_counts(browser: Client) -> None:
    form = FORM | token(browser)
    for _ in range(4):
        page = browser.post("/", form).content.decode()
    counted = dict(re.findall(r"<li><strong>([^<]*)</strong>([^<]*)</li>", page))
    assert {name: figure for figure, name in counted.items()} | {"time saved": ""} == {
        "hits": "3",
        "misses": "1",
        "hit rate": "75%",
        "time saved": "",
    }


def test_the_page_shows_the_engine(browser: Client) -> None:
    page = browser.get("/").content.decode()
    assert re.search(r"<dt>segments</dt><dd>\d", page)
    assert "<dt>budget</dt><dd>512 MiB</dd>" in page


def test_without_its_token_a_form_runs_nothing(browser: Client) -> None:
    assert browser.post("/", FORM).status_code == 403


def test_a_form_from_elsewhere_runs_nothing(browser: Client, site: Settings) -> None:
    form = FORM | token(browser)
    assert browser.post("/", form, REMOTE_ADDR="192.0.2.7").status_code == 403
    site.COMPILE_ALLOW_REMOTE = True
    assert browser.post("/", form, REMOTE_ADDR="192.0.2.7").status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language": "cobol"}, "Choose a language."),
        ({"source": "x" * 70_000}, "source is larger than 65,536 bytes"),
    ],
)
def test_a_bad_form_is_told_why(browser: Client, change: dict[str, str], message: str) -> None:
    response = browser.post("/", FORM | change | token(browser))
    assert response.status_code == 400
    assert message in response.content.decode()


@pytest.mark.parametrize("name", samples())
def test_each_sample_opens_in_the_editor(browser: Client, name: str) -> None:
    page = html.unescape(browser.get("/", {"sample": name}).content.decode())
    sample = samples()[name]
    assert f">\n{sample.program.source}</textarea>" in page
    assert f">\n{sample.program.stdin}</textarea>" in page


def test_nothing_is_loaded_from_elsewhere(browser: Client) -> None:
    response = browser.get("/")
    assert re.findall(r'(?:src|href)="(?!\?|data:)([^"]*)"', response.content.decode()) == [
        "/assets/page.css",
        "/assets/page.js",
    ]
    assert "default-src 'none'" in response["Content-Security-Policy"]
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        assert browser.get(f"/assets/{name}")["Content-Type"] == f"{kind}; charset=utf-8"
    assert browser.get("/assets/..").status_code == 404


def test_there_are_at_least_eight_samples_with_titles() -> None:
    assert len(samples()) >= 8
    assert all(sample.title for sample in samples().values())
