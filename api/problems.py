"""Every error as an RFC 9457 problem document, from one place.

| status | type                                        | when |
|--------|---------------------------------------------|------|
| 401    | `/problems/unauthenticated`, `…/wrong-credentials` | nobody knows who asks: `WWW-Authenticate` |
| 403    | `/problems/forbidden`, `…/scope`            | the asker may see the thing, but not do that |
| 403    | `/problems/csrf`                            | no CSRF token, or a page of another origin |
| 403    | `/problems/reauthentication-needed`         | dangerous: show the password once more |
| 404    | `/problems/not-found`, `…/unknown-device`, `…/no-reading` | nothing there that the asker may see |
| 405    | `/problems/method-not-allowed`              | not this method |
| 406    | `/problems/not-acceptable`                  | no such representation |
| 409    | `/problems/busy`, `…/last-owner`, …         | what is forbids it now |
| 413    | `/problems/body-too-large`                  | more bytes than the route takes |
| 415    | `/problems/unsupported-media-type`          | not a kind of body that is taken |
| 416    | `/problems/range-not-satisfiable`           | no such part: `Content-Range` |
| 422    | `/problems/invalid-parameter`               | a parameter is wrong: `errors` names each |
| 429    | `/problems/too-many-requests`, `…/locked-out`, `…/too-many-live-connections` | wait for `Retry-After` |
| 500    | `/problems/internal-error`                  | our fault; the log has the rest |
| 503    | `/problems/dependency-unavailable`          | a server behind us is away: `Retry-After` |
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from eventsourcing.persistence import RecordConflictError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match

from api.security_headers import NO_STORE, SECURITY_HEADERS, answer_headers
from domain.errors import Denied, DependencyUnavailable, InvalidInput, Missing, RuleBroken, WattAwayError

RETRY_AFTER_S = 2
PROBLEM_JSON = "application/problem+json"

log = structlog.get_logger()

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


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


class Unauthenticated(WattAwayError):
    """Nobody knows who asks.

    Args:
        bearer: a token came, and it does not count.
    """

    def __init__(self, detail: str, *, kind: str = "unauthenticated", bearer: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.challenge = 'Bearer error="invalid_token"' if bearer else "Bearer"


class Forbidden(WattAwayError):
    """It is known who asks, but not so."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class ReauthenticationNeeded(Forbidden):
    """Dangerous, and the session's password was shown too long ago."""

    def __init__(self) -> None:
        super().__init__("reauthentication-needed", "show your password once more at /api/v1/session/reauthentication")


class TooMany(WattAwayError):
    """Too often, or too often wrong.

    Args:
        standing: the header fields of the limit that refuses.
    """

    def __init__(self, kind: str, detail: str, retry_after_s: int, standing: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.kind, self.headers = kind, {"Retry-After": str(retry_after_s), **standing}


def no_reading(device_id: str) -> NotFound:
    return NotFound("no-reading", f"device {device_id!r} has not sent a reading yet")


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
    kinds = {413: "body-too-large"}
    kind = kinds.get(error.status_code) or HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    details = {404: "nothing is at this address", 405: f"{request.method} is not possible here"}
    detail = details.get(error.status_code, str(error.detail))
    headers = {"Allow": _possible_methods(request)} if error.status_code == 405 else error.headers
    return problem(request, error.status_code, kind, detail, headers=headers)


def _possible_methods(request: Request) -> str:
    """All of this address: the framework names those of the first route that has it. Source: RFC 9110, 10.2.1."""
    routes = request.app.router.routes

    def is_possible(method: str) -> bool:
        return any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)

    return ", ".join(filter(is_possible, _METHODS))


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"parameter": ".".join(map(str, e["loc"][1:])), "detail": e["msg"]} for e in error.errors()]
    detail = "; ".join(f"`{e['parameter']}`: {e['detail']}" for e in errors)
    return problem(request, 422, "invalid-parameter", detail, errors=errors)


async def _on_invalid_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidInput)
    errors = [{"parameter": error.reason, "detail": error.detail}]
    return problem(request, 422, "invalid-parameter", error.detail, errors=errors)


async def _on_broken_rule(request: Request, error: Exception) -> Response:
    assert isinstance(error, RuleBroken)
    return problem(request, 409, error.kind, error.detail)


async def _on_conflict(request: Request, _error: Exception) -> Response:
    return problem(request, 409, "busy", "others are changing the same thing; try again")


async def _on_missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, Missing)
    return problem(request, 404, error.kind, error.detail)


async def _on_denied(request: Request, error: Exception) -> Response:
    assert isinstance(error, Denied)
    return problem(request, 403, error.kind, error.detail)


async def _on_forbidden(request: Request, error: Exception) -> Response:
    assert isinstance(error, Forbidden)
    return problem(request, 403, error.kind, str(error))


async def _on_unauthenticated(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unauthenticated)
    return problem(request, 401, error.kind, str(error), headers={"WWW-Authenticate": error.challenge})


async def _on_too_many(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooMany)
    # Not where one stands with the limit of all requests, which this one has passed.
    added = answer_headers(request.scope)
    added[:] = [(name, value) for name, value in added if not name.startswith(b"ratelimit")]
    return problem(request, 429, error.kind, str(error), headers=error.headers)


async def _on_not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotFound)
    return problem(request, 404, error.kind, error.detail)


async def _on_not_acceptable(request: Request, error: Exception) -> Response:
    return problem(request, 406, "not-acceptable", str(error))


def unavailable(request: HTTPConnection, error: DependencyUnavailable) -> Response:
    """The response when a server behind us is away."""
    log.warning("dependency unavailable", dependency=error.dependency, detail=error.detail, path=request.url.path)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    detail = f"{error.dependency} is out of reach; try again in {RETRY_AFTER_S} s"
    return problem(request, 503, "dependency-unavailable", detail, headers=headers, dependency=error.dependency)


async def _on_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, DependencyUnavailable)
    return unavailable(request, error)


async def _on_anything(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    # This answer is made outside of what adds these header fields to all others.
    return problem(
        request, 500, "internal-error", "this is our fault; it has been logged", headers=SECURITY_HEADERS | NO_STORE
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    handlers = {
        HTTPException: _on_http,
        RequestValidationError: _on_validation,
        InvalidInput: _on_invalid_input,
        NotFound: _on_not_found,
        NotAcceptable: _on_not_acceptable,
        DependencyUnavailable: _on_unavailable,
        RuleBroken: _on_broken_rule,
        RecordConflictError: _on_conflict,
        Missing: _on_missing,
        Denied: _on_denied,
        Forbidden: _on_forbidden,
        Unauthenticated: _on_unauthenticated,
        TooMany: _on_too_many,
        Exception: _on_anything,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
