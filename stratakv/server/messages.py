"""Requests to keys and values, values to JSON: pure, on bytes only.

Keys and values travel as text and are stored as its UTF-8 bytes. What cannot be that, exactly, is
refused: a byte replaced on the way would name another key.
"""

import json
from typing import Any
from urllib.parse import parse_qsl


class BadRequestError(Exception):
    """The request is not one of this interface; the text says why."""


def key_in_query(query: bytes) -> bytes:
    """The key that `?key=...` names; raises BadRequestError."""
    try:
        fields = dict(parse_qsl(query.decode(), errors="strict"))
    except ValueError:
        raise BadRequestError("the query string is not percent-encoded UTF-8") from None
    if "key" not in fields:
        raise BadRequestError("the query string has no key: add ?key=...")
    return fields["key"].encode()


def record_in_body(body: bytes) -> tuple[bytes, bytes]:
    """Key and value of the JSON object `body`; raises BadRequestError."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise BadRequestError('the body is not a JSON object with "key" and "value"')
    return _text(fields, "key"), _text(fields, "value")


def _text(fields: dict[str, Any], name: str) -> bytes:
    if name not in fields:
        raise BadRequestError(f'the body has no "{name}"')
    if not isinstance(fields[name], str):
        raise BadRequestError(f'"{name}" is not a string')
    try:
        return str(fields[name]).encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        raise BadRequestError(f'"{name}" is not valid Unicode text') from None
