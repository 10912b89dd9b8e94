"""The application: routes, middleware and errors put together."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import stratakv
from stratakv.server.access import BearerToken, LocalProgramsOnly
from stratakv.server.compaction import BackgroundCompaction
from stratakv.server.handlers import Handlers
from stratakv.server.limits import BodyLimit
from stratakv.server.messages import BadRequestError

logger = logging.getLogger("stratakv.server")

MAX_REQUEST_BYTES = 16 * 2**20


def create_app(
    db: stratakv.DB, *, token: str | None = None, max_request_bytes: int = MAX_REQUEST_BYTES
) -> Starlette:
    """Return the ASGI application that serves `db`, which stays the caller's to close.

    With a `token`, every request must bear it. Without one, only requests that programs on this
    machine make are answered, and the caller must listen on a loopback address. A request body may
    have up to `max_request_bytes` bytes.
    """
    compaction = BackgroundCompaction(db)
    handlers = Handlers(db, compaction)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        compaction.start()
        yield
        await run_in_threadpool(compaction.stop)

    access = Middleware(BearerToken, token=token) if token else Middleware(LocalProgramsOnly)
    app = Starlette(
        routes=[
            Route("/put", handlers.put, methods=["PUT"]),
            Route("/get", handlers.get, methods=["GET"]),
            Route("/delete", handlers.delete, methods=["DELETE"]),
            Route("/compact", handlers.compact, methods=["POST"]),
        ],
        middleware=[access, Middleware(BodyLimit, max_bytes=max_request_bytes)],
        exception_handlers={
            BadRequestError: _bad_request,
            ClientDisconnect: _client_gone,
            stratakv.InvalidKeyError: _bad_request,
            stratakv.InvalidValueError: _bad_request,
            stratakv.StrataKVError: _storage_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # /put/ is no name of this interface; a redirect would lose the body
    return app


async def _bad_request(_: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(str(error), status_code=400)


async def _client_gone(_: Request, __: Exception) -> PlainTextResponse:
    # Nobody reads it. Without an answer it would be logged as if something were wrong here.
    return PlainTextResponse("the body is not complete", status_code=400)


async def _storage_error(request: Request, error: Exception) -> PlainTextResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return PlainTextResponse(f"storage error: {error}", status_code=500)
