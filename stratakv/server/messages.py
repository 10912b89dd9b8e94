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
        fields = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise BadRequestError("the query string is not percent-encoded UTF-8") from None
    keys = [value for name, value in fields if name == "key"]
    if not keys:
        raise BadRequestError("the query string has no key: add ?key=...")
    if len(keys) > 1:
        raise BadRequestError("the query string has more than one key: send a request for each")
    return keys[0].encode()


def record_in_body(body: bytes) -> tuple[bytes, bytes]:
    """Key and value of the JSON object `body`; raises BadRequestError."""
    try:
        fields = json.loads(body, object_pairs_hook=_fields_of)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise BadRequestError('the body is not a JSON object with "key" and "value"')
    return _text(fields, "key"), _text(fields, "value")


def _fields_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises BadRequestError for a name that is there twice, of which one would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadRequestError("the body has a name more than once: send a request for each key")
    return fields


def _text(fields: dict[str, Any], name: str) -> bytes:
    if name not in fields:
        raise BadRequestError(f'the body has no "{name}"')
    if not isinstance(fields[name], str):
        raise BadRequestError(f'"{name}" is not a string')
    try:
        return str(fields[name]).encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        raise BadRequestError(f'"{name}" is not valid Unicode text') from None
