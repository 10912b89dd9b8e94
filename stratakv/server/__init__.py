"""The HTTP interface: a Starlette application over an open store (docs/http.md).

app         create_app: routes, middleware and errors put together
handlers    one function for each route
messages    pure: query strings and JSON bodies to keys and values, values to JSON
access      who may ask: a bearer token, or programs on this machine only
limits      how much one request may send
compaction  compaction behind the requests
serve       one process that listens: sockets, signals, uvicorn
"""

from stratakv.server.app import create_app

__all__ = ["create_app"]
