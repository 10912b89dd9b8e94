"""One function for each route; errors become plain text in `app`."""

import shlex

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

import stratakv
from stratakv.server.compaction import BackgroundCompaction
from stratakv.server.messages import key_in_query, record_in_body


class Handlers:
    """The routes over one open store."""

    def __init__(self, db: stratakv.DB, compaction: BackgroundCompaction) -> None:
        self._db = db
        self._compaction = compaction

    async def put(self, request: Request) -> JSONResponse:
        """Store the value; answered when it is as durable as the store promises."""
        key, value = record_in_body(await request.body())
        self._check_in_place()
        await run_in_threadpool(self._db.put, key, value)  # waits for locks and the disk
        return JSONResponse({"status": "success"})

    async def get(self, request: Request) -> JSONResponse:
        """The value as text."""
        key = key_in_query(request.scope["query_string"])
        self._check_in_place()
        # Not in a thread: a lookup takes no lock and holds the interpreter for all of its few microseconds.
        value = self._db.get(key)
        if value is None:
            return JSONResponse({"key": key.decode(), "found": False}, status_code=404)
        return JSONResponse({"key": key.decode(), "value": self._text(value), "found": True})

    async def delete(self, request: Request) -> JSONResponse:
        """Delete the key; the same answer when there was none."""
        key = key_in_query(request.scope["query_string"])
        self._check_in_place()
        await run_in_threadpool(self._db.delete, key)
        return JSONResponse({"status": "deleted"})

    async def compact(self, request: Request) -> JSONResponse:
        """Start a compaction and answer without waiting for it."""
        self._check_in_place()
        self._compaction.trigger()
        return JSONResponse({"status": "compaction triggered successfully"})

    def _check_in_place(self) -> None:
        """Raise RemovedError where the directory has gone: what is written to its files now, nobody finds."""
        if not self._db.in_place():
            raise stratakv.RemovedError(
                f"{self._db.path} was removed or replaced while it was open; restart the server"
            )

    def _text(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            directory = shlex.quote(str(self._db.path))
            raise HTTPException(
                409,
                "the value is not UTF-8 text, and JSON cannot carry it; read it in a shell with"
                f" `python -m stratakv get {directory} KEY`, or in Python with db.get(key)",
            ) from None
