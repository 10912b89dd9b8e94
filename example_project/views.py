"""The page: an editor, and what became of the program. A plain form does it; the script makes it quicker."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from example_project import compile_cache, statistics
from example_project.access import require_local
from example_project.languages import LANGUAGES, MissingCompilerError, toolchains
from example_project.presentation import figures, shown, tiles
from example_project.programs import Program
from example_project.samples import Sample, samples
from example_project.sandbox import SandboxError

ASSETS = Path(__file__).parent / "assets"
CONTENT_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """The page; a POST runs the program first. The script wants the answer alone (header X-Part: answer)."""
    chosen = _chosen(request)
    context: dict[str, Any] = {"program": chosen.program}
    status = HTTPStatus.OK
    if request.method == "POST":
        require_local(request)
        status, context = _run(request)
    context |= {"tiles": tiles(statistics.counts()), "figures": figures(statistics.engine())}
    if request.headers.get("X-Part") == "answer":
        response = render(request, "answer.html", context, status=status)
        response["X-Part"] = "answer"
        return response
    context |= {"toolchains": toolchains(), "samples": samples().values(), "chosen": chosen}
    response = render(request, "page.html", context, status=status)
    response["Content-Security-Policy"] = POLICY
    return response


def _chosen(request: HttpRequest) -> Sample:
    """The sample that fills the editor: the one asked for, else the first this machine can run."""
    wanted = samples().get(request.GET.get("sample", ""))
    present = {tools.language.slug for tools in toolchains()}
    return wanted or next(sample for sample in samples().values() if sample.program.language in present)


def _run(request: HttpRequest) -> tuple[HTTPStatus, dict[str, Any]]:
    # Browsers send a form's line ends as CR LF; the editor, and the key, know LF.
    language, source, stdin = (
        request.POST.get(name, "").replace("\r\n", "\n") for name in ("language", "source", "stdin")
    )
    try:
        program = Program(language, source, stdin)
    except ValueError as error:
        return HTTPStatus.BAD_REQUEST, {"program": Program(language, "", ""), "error": str(error)}
    if language not in LANGUAGES:
        return HTTPStatus.BAD_REQUEST, {"program": program, "error": "Choose a language."}
    try:
        answer = compile_cache.answer(program)
    except MissingCompilerError as error:
        return HTTPStatus.BAD_REQUEST, {"program": program, "error": str(error)}
    except SandboxError as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"program": program, "error": str(error)}
    statistics.count(answer)
    return HTTPStatus.OK, {"program": program, "answer": shown(answer)}


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:
    """The page's style and script; served here so that the page looks the same without DEBUG."""
    if name not in CONTENT_TYPES:
        raise Http404(name)
    response = HttpResponse(
        (ASSETS / name).read_bytes(), content_type=f"{CONTENT_TYPES[name]}; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache"
    return response
