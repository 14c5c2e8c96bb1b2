"""Every error as an RFC 9457 problem document, from one place.

| status | type                                        | when |
|--------|---------------------------------------------|------|
| 404    | `/problems/not-found`, `…/unknown-device`, `…/no-reading` | nothing is there |
| 405    | `/problems/method-not-allowed`              | the API reads only |
| 406    | `/problems/not-acceptable`                  | no such representation |
| 422    | `/problems/invalid-parameter`               | a parameter is wrong: `errors` names each |
| 500    | `/problems/internal-error`                  | our fault; the log has the rest |
| 503    | `/problems/dependency-unavailable`          | a server behind us is away: `Retry-After` |
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from domain.errors import DependencyUnavailable, InvalidInput, WattAwayError

RETRY_AFTER_S = 2
PROBLEM_JSON = "application/problem+json"

log = structlog.get_logger()


class NotFound(WattAwayError):
    """Nothing is there; `kind` becomes the problem's type."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class NotAcceptable(WattAwayError):
    """The client accepts none of the representations there are."""

    def __init__(self, offered: tuple[str, ...]) -> None:
        super().__init__(f"this route answers as {' or '.join(offered)}")


def unknown_device(device_id: str) -> NotFound:
    return NotFound("unknown-device", f"no device {device_id!r} was ever heard of")


def problem(
    request: HTTPConnection,
    status: int,
    kind: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """The response of one problem; `more` are its extension members."""
    document = {
        "type": f"/problems/{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        **more,
    }
    return Response(msgspec.json.encode(document), status, headers, PROBLEM_JSON)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    details = {404: "nothing is at this address", 405: f"{request.method} is not possible here"}
    detail = details.get(error.status_code, str(error.detail))
    return problem(request, error.status_code, kind, detail, headers=error.headers)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"parameter": ".".join(map(str, e["loc"][1:])), "detail": e["msg"]} for e in error.errors()]
    detail = "; ".join(f"`{e['parameter']}`: {e['detail']}" for e in errors)
    return problem(request, 422, "invalid-parameter", detail, errors=errors)


async def _on_invalid_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidInput)
    errors = [{"parameter": error.reason, "detail": error.detail}]
    return problem(request, 422, "invalid-parameter", error.detail, errors=errors)


async def _on_not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotFound)
    return problem(request, 404, error.kind, error.detail)


async def _on_not_acceptable(request: Request, error: Exception) -> Response:
    return problem(request, 406, "not-acceptable", str(error))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, DependencyUnavailable)
    log.warning("dependency unavailable", dependency=error.dependency, detail=error.detail, path=request.url.path)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    detail = f"{error.dependency} is out of reach; try again in {RETRY_AFTER_S} s"
    return problem(request, 503, "dependency-unavailable", detail, headers=headers, dependency=error.dependency)


async def _on_anything(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(request, 500, "internal-error", "this is our fault; it has been logged")


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    handlers = {
        HTTPException: _on_http,
        RequestValidationError: _on_validation,
        InvalidInput: _on_invalid_input,
        NotFound: _on_not_found,
        NotAcceptable: _on_not_acceptable,
        DependencyUnavailable: _on_unavailable,
        Exception: _on_anything,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
