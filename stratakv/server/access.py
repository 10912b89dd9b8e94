"""Who may ask: holders of the token, or, where there is none, programs on this machine.

Being reachable from this machine only is not enough without a token: a web page open in the user's
browser is on this machine too. It can send some requests to any address, and with a name of its own
that resolves to 127.0.0.1 it can even read the answers ("DNS rebinding"). The name it used is then
in the Host header, and browsers mark what pages send.
"""

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class BearerToken:
    """Answers 401 to requests without `Authorization: Bearer` and the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or self._allowed(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "this server asks for a token: send it as Authorization: Bearer TOKEN",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _allowed(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        # In constant time: a comparison that ends at the first difference tells the token byte by byte.
        return hmac.compare_digest(token.strip().encode(), self._token) and scheme.lower() == "bearer"


class LocalProgramsOnly:
    """Answers 403 to requests for another host than this one, and to those of web pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or self._allowed(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "without a token this server answers programs on its own machine only,"
            " under the name localhost or a loopback address, and no web pages",
            status_code=403,
        )
        await refusal(scope, receive, send)

    def _allowed(self, headers: Headers) -> bool:
        from_page = "origin" in headers or headers.get("sec-fetch-site") in ("cross-site", "same-site")
        return not from_page and names_loopback(headers.get("host", ""))


def names_loopback(host_header: str) -> bool:
    """Whether `Host: host_header` is localhost or a loopback address, with or without a port."""
    try:
        host = urlsplit(f"//{host_header}").hostname
    except ValueError:
        return False
    return host == "localhost" or is_loopback(host or "")


def is_loopback(address: str) -> bool:
    """Whether `address` is an IP address that only this machine can reach."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
