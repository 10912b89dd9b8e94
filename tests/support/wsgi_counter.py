"""A WSGI application that counts its requests in a StrataKV store, for servers that fork.

The store is opened at import: with `gunicorn --preload` that is before the fork, without it after.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import stratakv

db = stratakv.open(os.environ["STRATAKV_TEST_STORE"], durability="interval", segment_bytes=64 * 1024)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    count = db.incr(b"requests")
    db.put(b"request-%d" % count, b"by %d " % os.getpid() + bytes(1000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d" % (os.getpid(), count)]
