"""POST /api/run: the same cache for programs instead of people.

The request is JSON, ``{"language": "c", "source": "...", "stdin": ""}``; the answer is `Answer.as_dict`.

It needs no CSRF token: other sites' pages can't send application/json without a preflight, which nobody
answers here. Besides, `access` refuses a foreign Origin, and ALLOWED_HOSTS a foreign Host (a name that was
rebound to this machine).
"""

import json
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from example_project import compile_cache, statistics
from example_project.access import require_local
from example_project.languages import LANGUAGES, MissingCompilerError
from example_project.programs import Program, ProgramTooLargeError
from example_project.sandbox import SandboxError


class RefusedError(Exception):
    """A request that is answered with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@csrf_exempt
def run(request: HttpRequest) -> JsonResponse:
    """Status 200, or 400, 403, 405, 413, 415, 503 with ``{"error": message}``."""
    try:
        answer = compile_cache.answer(_program(request))
    except RefusedError as refusal:
        response = JsonResponse({"error": str(refusal)}, status=refusal.status)
        if refusal.status == 405:
            response["Allow"] = "POST"
        return response
    except MissingCompilerError as error:
        return JsonResponse({"error": str(error)}, status=400)
    except SandboxError as error:
        return JsonResponse({"error": str(error)}, status=503)
    statistics.count(answer)
    return JsonResponse(answer.as_dict())


def _program(request: HttpRequest) -> Program:
    if request.method != "POST":
        raise RefusedError(405, "use POST")
    try:
        require_local(request)
    except PermissionDenied as error:
        raise RefusedError(403, str(error)) from error
    if request.content_type != "application/json":
        raise RefusedError(415, "send the request as application/json")
    fields = _fields(request)
    try:
        return Program(**fields)
    except ProgramTooLargeError as error:
        raise RefusedError(413, str(error)) from error
    except UnicodeEncodeError as error:
        raise RefusedError(400, "source and stdin have to be valid Unicode text") from error


def _fields(request: HttpRequest) -> dict[str, Any]:
    try:
        fields = json.loads(request.body)
    except RequestDataTooBig as error:
        raise RefusedError(413, "the request is too large") from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the request is not JSON: {error}") from error
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise RefusedError(400, "send a JSON object whose values are strings")
    if unknown := fields.keys() - {"language", "source", "stdin"}:
        raise RefusedError(400, f"unknown field {min(unknown)!r}; there are language, source and stdin")
    for name in ("language", "source"):
        if name not in fields:
            raise RefusedError(400, f"the field {name!r} is missing")
    if fields["language"] not in LANGUAGES:
        raise RefusedError(400, f"unknown language; there are {', '.join(LANGUAGES)}")
    return fields
