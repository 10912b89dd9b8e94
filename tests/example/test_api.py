"""POST /api/run: answers, and one clear error for everything else."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

HELLO = {"language": "python", "source": "print(input())", "stdin": "hello"}


def post(browser: Client, body: Any = HELLO, content_type: str = "application/json", **extra: Any) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return browser.post("/api/run", data, content_type=content_type, **extra)


def test_a_program_is_run_once(browser: Client) -> None:
    first, second = post(browser).json(), post(browser).json()
    assert (first["state"], second["state"]) == ("miss", "hit")
    assert first["result"] == second["result"]
    assert first["result"]["run"]["stdout"] == "hello\n"
    assert first["result"]["run"]["exit_status"] == 0
    assert first["key"] == second["key"]
    assert second["milliseconds"].keys() == {"lookup", "total"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ("[]", 400, "JSON object"),
        ({"language": "python", "source": 1}, 400, "strings"),
        ({"language": "python"}, 400, "'source' is missing"),
        ({"source": ""}, 400, "'language' is missing"),
        ({"language": "cobol", "source": ""}, 400, "unknown language; there are cpp, c, python"),
        (HELLO | {"flags": "-O3"}, 400, "unknown field 'flags'"),
        ('{"language": "python", "source": "\\ud800"}', 400, "Unicode"),
        (HELLO | {"source": "x" * 65_537}, 413, "source is larger"),
        (HELLO | {"stdin": "x" * 2_000_000}, 413, "too large"),
    ],
)
def test_a_bad_request_is_told_why(browser: Client, body: Any, status: int, message: str) -> None:
    response = post(browser, body)
    assert response.status_code == status
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_foreign_form_could_send_is_refused(browser: Client, content_type: str) -> None:
    assert post(browser, json.dumps(HELLO), content_type).status_code == 415


def test_a_sandbox_that_cannot_be_set_up_is_told(
    browser: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    response = post(browser)
    assert response.status_code == 503
    assert "cannot set up the sandbox: [Errno 2]" in response.json()["error"]


def test_other_methods_are_refused(browser: Client) -> None:
    response = browser.get("/api/run")
    assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "extra",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": "2001:db8::7"},
        {"REMOTE_ADDR": "::ffff:192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"headers": {"x-forwarded-for": "192.0.2.7"}},
        {"headers": {"origin": "https://example.com"}},
        {"headers": {"origin": "null"}},
        {"headers": {"origin": "http://["}},
    ],
    ids=str,
)
def test_code_from_elsewhere_is_not_run(browser: Client, extra: dict[str, Any]) -> None:
    assert post(browser, **extra).status_code == 403


def test_the_refusal_names_the_variable_that_lifts_it(browser: Client) -> None:
    refusal = post(browser, headers={"x-forwarded-for": "192.0.2.7"})
    assert "STRATAKV_DEMO_ALLOW_REMOTE=1" in refusal.json()["error"]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_local(browser: Client, address: str) -> None:
    assert post(browser, REMOTE_ADDR=address, headers={"origin": "http://localhost"}).status_code == 200


def test_a_name_that_was_rebound_to_this_machine_is_refused(browser: Client) -> None:
    assert post(browser, headers={"host": "rebound.example.com"}).status_code == 400


def test_a_setting_allows_other_machines_but_not_other_sites(browser: Client, site: Settings) -> None:
    site.COMPILE_ALLOW_REMOTE = True
    assert post(browser, REMOTE_ADDR="192.0.2.7").status_code == 200
    assert (
        post(browser, REMOTE_ADDR="192.0.2.7", headers={"origin": "https://example.com"}).status_code == 403
    )
