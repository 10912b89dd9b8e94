"""Server processes: two on one directory, slow commits, the end, and what keeps one from starting."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import stratakv
from tests.support.waiting import wait_until


def put(server, key, value):
    return server.curl("PUT", "/put", body=json.dumps({"key": key, "value": value})).status


def get(server, key):
    return json.loads(server.curl("GET", f"/get?key={key}").text).get("value")


def test_two_servers_share_a_directory(start):
    left, right = start(), start()
    for number in range(5):
        assert put(left, "by-left", str(number)) == put(right, "by-right", str(number)) == 200
        assert get(right, "by-left") == get(left, "by-right") == str(number)
    right.curl("POST", "/compact")
    left.curl("POST", "/compact")
    assert put(left, "during", "compaction") == 200
    assert get(right, "during") == "compaction"
    right.curl("DELETE", "/delete?key=greeting")
    assert get(left, "greeting") is None


def test_a_waiting_put_keeps_nobody_else_waiting(server, store):
    with stratakv.open(store) as db:
        with db.transaction():  # other writers wait now
            waiting = start_waiting_put(server)
            assert get(server, "greeting") == "hello"
            assert not waiting.answered()
        assert waiting.answer().status == 200
        assert db.get(b"slow") == b"stored"


def start_waiting_put(server):
    """Start a put; return when the server is in the midst of it."""
    before = threads_of(server)
    waiting = server.start_curl("PUT", "/put", body='{"key": "slow", "value": "stored"}')
    wait_until(lambda: threads_of(server) > before)
    return waiting


def threads_of(server):
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_ends_with_status_0(server, store, number):
    assert put(server, "last", "word") == 200
    server.process.send_signal(number)
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == b""
    with stratakv.open(store) as db:
        assert db.get(b"last") == b"word"


def test_a_stopped_server_answers_what_it_has_begun(server, store):
    with stratakv.open(store) as db:
        with db.transaction():
            waiting = start_waiting_put(server)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not accepts_connections(server))
            assert not waiting.answered()
        assert waiting.answer().status == 200
        assert server.process.wait(30) == 0
        assert db.get(b"slow") == b"stored"


def begin_body(server):
    """A client that has sent a part of its request."""
    address = urlsplit(server.url)
    client = socket.create_connection((address.hostname, address.port), timeout=30)
    client.sendall(b'PUT /put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"key": ')
    get(server, "greeting")  # by now it was read
    return client


def test_a_client_that_goes_in_the_middle_is_no_error(server):
    begin_body(server).close()
    get(server, "greeting")
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == b""


def test_a_stopped_server_does_not_wait_for_ever_for_a_body(server):
    with begin_body(server) as client:
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: not accepts_connections(server))
        server.process.send_signal(signal.SIGINT)  # nor does it hurry for the impatient
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        assert server.process.wait(30) == 0
    assert b"Traceback" not in server.process.stderr.read()


def test_a_stopped_server_gives_up_its_compaction(start, store):
    with stratakv.open(store) as db:  # all in one segment, so that nothing but a compaction rewrites it
        for first in range(0, 60_000, 1000):
            db.put_many({b"%06d" % number: b"x" * 1000 for number in range(first, first + 1000)})
    server = start()
    assert server.curl("POST", "/compact").status == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == b""
    with stratakv.open(store) as db:
        assert "main" not in kinds(store)
        assert db.verify().ok


def test_a_server_has_the_maintenance_done(start, store):
    shutil.rmtree(store)
    with stratakv.open(store, segment_bytes=2**16, maintenance="manual") as db:
        for number in range(700):
            db.put(b"%04d" % number, b"x" * 1000)
        assert "main" not in kinds(store)
        server = start()
        wait_until(lambda: kinds(store) == ["active", "main"])
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == b""


def test_a_server_keeps_the_budget_it_was_given(start, store):
    shutil.rmtree(store)
    server = start("--max-bytes", str(2**20), "--durability", "os")
    for number in range(25):
        assert put(server, f"large-{number}", "x" * 100_000) == 200
    refusal = server.curl("PUT", "/put", body=json.dumps({"key": "k", "value": "x" * 300_000}))
    assert (refusal.status, "max_bytes" in refusal.text) == (400, True)
    with stratakv.open(store, read_only=True) as db:
        wait_until(lambda: db.stats().disk_bytes <= 2**20)
        assert db.stats().max_bytes == 2**20
    assert get(server, "large-24") == "x" * 100_000
    start()  # without the option the budget is left as it is
    with stratakv.open(store, read_only=True) as db:
        assert db.stats().max_bytes == 2**20


@pytest.mark.parametrize("replace", [False, True], ids=["removed", "replaced"])
def test_nothing_is_acknowledged_where_the_directory_has_gone(server, store, replace):
    shutil.rmtree(store)
    if replace:
        stratakv.open(store).close()
    for method, path, body in (
        ("PUT", "/put", '{"key": "key", "value": "value"}'),
        ("GET", "/get?key=greeting", None),
        ("DELETE", "/delete?key=greeting", None),
        ("POST", "/compact", None),
    ):
        answer = server.curl(method, path, body=body)
        assert (answer.status, answer.text) == (
            500,
            f"storage error: {store} was removed or replaced while it was open; restart the server",
        )


def test_a_directory_that_a_group_shares_is_served(start, store):
    shutil.rmtree(store)
    store.mkdir()
    store.chmod(0o770)
    assert put(start(), "key", "value") == 200
    assert {path.stat().st_mode & 0o777 for path in store.iterdir()} == {0o660}


def kinds(store):
    with stratakv.open(store, read_only=True) as db:
        return [segment.kind for segment in db.stats().segments]


def accepts_connections(server):
    address = urlsplit(server.url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except ConnectionError:
        return False
    return True


def refused(*options, **environment):
    """The one line with which a server that cannot start says why."""
    words = [sys.executable, "-m", "stratakv", "serve", *map(os.fspath, options)]
    environment = {**os.environ, **environment}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stratakv")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_port_in_use_is_refused(server, store):
    assert "in use" in refused(store, "--port", str(urlsplit(server.url).port))


def test_a_standard_output_that_is_full_is_named(store):
    words = [sys.executable, "-m", "stratakv", "serve", os.fspath(store), "--port", "0"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"stratakv: standard output: No space left on device\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_token_only_loopback_is_listened_on(tmp_path, host):
    line = refused(tmp_path / "new", "--host", host, "--port", "0")
    assert "--token-file" in line
    assert "STRATAKV_TOKEN" in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("token", ["", "two words", "schlüssel", "line\nbreak"])
def test_a_useless_token_is_refused(tmp_path, token):
    assert "STRATAKV_TOKEN: a token is one word" in refused(tmp_path / "new", STRATAKV_TOKEN=token)
    (tmp_path / "token").write_text(token)
    assert "token: a token is one word" in refused(tmp_path / "new", "--token-file", tmp_path / "token")


def test_a_token_file_of_other_things_is_refused(tmp_path):
    (tmp_path / "token").write_bytes(b"\x7fELF\xff\xfe")
    assert "token: a token is one word" in refused(tmp_path / "new", "--token-file", tmp_path / "token")


@pytest.mark.parametrize("host", [".shop", "a" * 70, "no such host"])
def test_a_host_that_does_not_exist_is_named(tmp_path, host):
    assert f"{host} cannot be listened on" in refused(tmp_path / "new", "--host", host, "--port", "0")
    assert not any(tmp_path.iterdir())


def test_a_directory_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "letter").touch()
    assert str(tmp_path) in refused(tmp_path, "--port", "0")


def test_answers_are_sent_at_once():
    pytest.importorskip("uvicorn", reason="needs the package uvicorn (extra stratakv[server])")
    from stratakv.server.serve import listen

    with (
        listen("127.0.0.1", 0, open_to_others=False) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
