"""One process that listens: sockets, signals, uvicorn."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

import stratakv
from stratakv.server.access import is_loopback
from stratakv.server.app import create_app

# A key of 65,535 bytes, each of them percent-encoded as three, and the headers.
_MAX_HEAD_BYTES = 3 * 65_535 + 65_536
_SECONDS_TO_FINISH = 10


def serve(
    directory: Path,
    *,
    host: str,
    port: int,
    durability: str,
    mode: int,
    max_bytes: int | None,
    token: str | None,
    max_request_bytes: int,
    announce: Callable[[str], Any],
) -> NoReturn:
    """Serve the store in `directory` until SIGTERM or SIGINT, then close it and raise SystemExit(0).

    `mode` is that of `stratakv.open`. `max_bytes` becomes the budget of the store; None leaves it as it is.
    `announce` gets one line when connections are accepted. Raises OSError when `host` and `port`
    cannot be listened on, and OptionError for a `host` that does not exist, or that others can reach
    without a `token`.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with (
        listen(host, port, open_to_others=token is not None) as listener,
        stratakv.open(
            directory,
            durability=durability,
            mode=mode,
            max_bytes=max_bytes,
            maintenance="auto",  # a process that stays is the one to see to it
        ) as db,
    ):
        announce(f"stratakv: serving {db.path} on {_url(listener)}")
        config = uvicorn.Config(
            create_app(db, token=token, max_request_bytes=max_request_bytes),
            http="h11",
            ws="none",
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        _Server(config).run(sockets=[listener])
    raise SystemExit(0)


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: object) -> None:
        """Begin to end. A second Ctrl-C changes nothing: uvicorn would cut off the answers."""
        self.should_exit = True


def _stop(_signal: int, _frame: object) -> NoReturn:
    """End the process in order, before and after uvicorn has the signals."""
    raise SystemExit(0)


def listen(host: str, port: int, *, open_to_others: bool) -> socket.socket:
    """Return a listening socket; raises OptionError for no such host, or one that others could reach."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: no name can have such a form
        raise stratakv.OptionError(f"{host} cannot be listened on: {error}") from error
    # The address itself, not the name: the name may resolve to another one the next time.
    if not (open_to_others or is_loopback(str(address[0]))):
        raise stratakv.OptionError(
            f"{host} can be reached from other machines, so a token is needed:"
            " set --token-file or STRATAKV_TOKEN, or listen on 127.0.0.1"
        )
    listener = socket.create_server(address, family=family, backlog=1024)
    # Connections inherit it. Without it, a second answer on a connection waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
