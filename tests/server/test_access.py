"""Who is answered: holders of the token; without one, programs on this machine."""

import pytest

TOKEN = "correct-horse"


def ask(server, *headers):
    options = [part for header in headers for part in ("-H", header)]
    return server.curl("GET", "/get?key=greeting", *options)


def bearer(token):
    return f"Authorization: Bearer {token}"


@pytest.fixture(params=["environment", "file"])
def guarded(request, start, tmp_path):
    """A server with a token, given in each of the two ways."""
    if request.param == "environment":
        return start(token=TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n")
    return start("--token-file", tmp_path / "token")


def test_the_token_opens(guarded):
    assert ask(guarded, bearer(TOKEN)).status == 200


@pytest.mark.parametrize(
    "header",
    ["Accept: */*", bearer("wrong"), bearer(""), bearer(TOKEN + "s"), f"Authorization: Basic {TOKEN}"],
)
def test_nothing_else_opens(start, header):
    server = start(token=TOKEN)
    answer = ask(server, header)
    assert (answer.status, answer.kind) == (401, "text/plain")
    assert server.curl("PUT", "/put", "-H", header, body='{"key": "a", "value": "1"}').status == 401
    assert server.curl("GET", "/get?key=a", "-H", bearer(TOKEN)).status == 404


def test_a_refusal_asks_for_the_token(start):
    assert "www-authenticate: Bearer" in start(token=TOKEN).curl("GET", "/get", "-i").text


def test_with_a_token_the_server_may_be_reached_from_elsewhere(start):
    server = start("--host", "0.0.0.0", token=TOKEN)
    assert ask(server, bearer(TOKEN), "Host: shop.example").status == 200
    assert ask(server, "Host: shop.example").status == 401


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:99", "127.0.0.1", "127.8.9.1:80", "[::1]:8080", "LOCALHOST"]
)
def test_the_names_of_this_machine_are_answered(server, host):
    assert ask(server, f"Host: {host}").status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Host: shop.example",
        "Host: 192.0.2.1:8080",
        "Host: localhost.shop.example",
        "Host: [::1",
        "Host;",
        "Origin: https://shop.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ],
)
def test_web_pages_are_not_answered(server, header):
    answer = ask(server, header)
    assert (answer.status, answer.kind) == (403, "text/plain")
    assert server.curl("POST", "/compact", "-H", header).status == 403
