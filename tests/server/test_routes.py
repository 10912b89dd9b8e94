"""Every row of the interface's table, and every way to get a request wrong."""

import http.client
import json
import resource
import time
from pathlib import Path
from urllib.parse import quote

import pytest

import stratakv

LONGEST_KEY = "ü" * 32_767 + "u"


def as_json(answer):
    assert answer.kind == "application/json"
    return json.loads(answer.text)


def test_put_then_get(server):
    put = server.curl("PUT", "/put", body='{"key": "a", "value": "1"}')
    assert (put.status, as_json(put)) == (200, {"status": "success"})
    got = server.curl("GET", "/get?key=a")
    assert (got.status, as_json(got)) == (200, {"key": "a", "value": "1", "found": True})


def test_get_of_a_missing_key(server):
    got = server.curl("GET", "/get?key=missing")
    assert (got.status, as_json(got)) == (404, {"key": "missing", "found": False})


@pytest.mark.parametrize("key", ["greeting", "missing"])
def test_delete(server, key):
    deleted = server.curl("DELETE", f"/delete?key={key}")
    assert (deleted.status, as_json(deleted)) == (200, {"status": "deleted"})
    assert server.curl("GET", f"/get?key={key}").status == 404


def test_compact(server):
    triggered = server.curl("POST", "/compact")
    assert (triggered.status, as_json(triggered)) == (200, {"status": "compaction triggered successfully"})
    assert server.curl("GET", "/get?key=greeting").status == 200


@pytest.mark.parametrize(
    ("key", "value"),
    [("grüße 日本", "𝄞\n\0"), ("a+b&c=d/%", ""), ("x", '"\\\u2028'), (LONGEST_KEY, "long")],
    ids=["unicode", "reserved", "quotes", "longest key"],
)
def test_text_arrives_exactly(server, store, key, value):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("PUT", "/put", json.dumps({"key": key, "value": value}))
    assert connection.getresponse().read() == b'{"status":"success"}'
    connection.request("GET", f"/get?key={quote(key, safe='')}")
    assert json.load(connection.getresponse()) == {"key": key, "value": value, "found": True}
    connection.close()
    with stratakv.open(store) as db:
        assert db.get(key.encode()) == value.encode()


def test_a_long_key_may_arrive_in_pieces(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.connect()
    connection.sock.sendall(b"GET /get?key=" + b"k" * 100_000)
    time.sleep(0.2)  # so that the server reads the first piece alone
    connection.sock.sendall(b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    assert (response.status, response.read()[:6]) == (400, b"a key ")
    response.close()
    connection.close()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        '{"key": "a"',
        '["a", "1"]',
        '{"value": "1"}',
        '{"key": "a"}',
        '{"key": "", "value": "1"}',
        '{"key": 1, "value": "1"}',
        '{"key": "a", "value": null}',
        '{"key": "a", "key": "b", "value": "1"}',
        '{"key": "a", "value": "1", "value": "1"}',
        '{"key": "a", "value": "\\ud800"}',
        b'{"key": "a", "value": "\xff"}',
        json.dumps({"key": LONGEST_KEY + "u", "value": "1"}),
        "[" * 50_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_bad_body_is_400_and_stores_nothing(server, store, body):
    with stratakv.open(store) as db:
        before = dict(db.scan())
        answer = server.curl("PUT", "/put", body=body)
        assert (answer.status, answer.kind) == (400, "text/plain")
        assert answer.text
        assert dict(db.scan()) == before


@pytest.mark.parametrize(("method", "path"), [("GET", "/get"), ("DELETE", "/delete")])
@pytest.mark.parametrize("query", ["", "?", "?key", "?key=", "?kye=a", "?key=%ff"])
def test_a_bad_query_is_400(server, method, path, query):
    answer = server.curl(method, path + query)
    assert (answer.status, answer.kind) == (400, "text/plain")
    assert "key" in answer.text or "UTF-8" in answer.text


@pytest.mark.parametrize("query", ["?key=greeting&key=", "?key=a&key=greeting", "?key=greeting&key=greeting"])
def test_two_keys_in_a_query_are_400_and_neither_is_deleted(server, query):
    for method, path in (("GET", "/get"), ("DELETE", "/delete")):
        answer = server.curl(method, path + query)
        assert (answer.status, "more than one key" in answer.text) == (400, True)
    assert server.curl("GET", "/get?key=greeting&more=&more=").status == 200


def test_an_empty_key_is_not_a_missing_one(server):
    assert "1 to 65,535 bytes" in server.curl("GET", "/get?key=").text
    assert "has no key" in server.curl("GET", "/get").text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/put"),
        ("POST", "/put"),
        ("PUT", "/get"),
        ("POST", "/get"),
        ("GET", "/delete"),
        ("GET", "/compact"),
    ],
)
def test_a_wrong_method_is_405(server, method, path):
    answer = server.curl(method, f"{path}?key=greeting")
    assert (answer.status, answer.kind) == (405, "text/plain")
    assert server.curl("GET", "/get?key=greeting").status == 200


@pytest.mark.parametrize("path", ["/", "/gett", "/put/"])
def test_a_wrong_path_is_404_as_text(server, path):
    answer = server.curl("PUT", path, body='{"key": "a", "value": "1"}')
    assert (answer.status, answer.kind) == (404, "text/plain")


def test_a_storage_error_is_500_and_passes(server):
    # As a full disk would, the kernel now refuses this process to make any file longer.
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    answer = server.curl("PUT", "/put", body='{"key": "a", "value": "1"}')
    assert (answer.status, answer.kind) == (500, "text/plain")
    assert answer.text.startswith("storage error: ")
    assert server.curl("GET", "/get?key=greeting").status == 200
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert server.curl("PUT", "/put", body='{"key": "a", "value": "1"}').status == 200


def test_a_value_that_is_not_text_names_the_other_interfaces(server, store):
    answer = server.curl("GET", "/get?key=binary")
    assert (answer.status, answer.kind) == (409, "text/plain")
    assert f"python -m stratakv get {store} KEY" in answer.text


@pytest.mark.parametrize("chunked", [[], ["-H", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_a_large_request_is_413_and_never_held(start, tmp_path, chunked):
    server = start("--max-request-bytes", "1000000")
    (tmp_path / "large").write_bytes(b"x" * 50_000_000)
    before = peak_memory(server.process.pid)
    answer = server.curl("PUT", "/put", *chunked, body=f"@{tmp_path / 'large'}")
    assert (answer.status, answer.kind) == (413, "text/plain")
    assert "1,000,000 bytes" in answer.text
    assert peak_memory(server.process.pid) - before < 10_000_000


def test_an_announced_large_request_is_refused_before_it_is_sent(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("PUT", "/put")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def peak_memory(pid):
    """In bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
