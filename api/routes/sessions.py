"""Signing in and out, and showing the password once more."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_sessions as examples
from api.asking import Asker, AskerSession, OwnPage
from api.schemas import json_answer, problem_responses
from api.schemas_sessions import Credentials, PasswordAgain, Session
from api.services import API_PREFIX, JsonBytes, Services
from api.sessions import clear_cookie
from api.signing_in import begin_session, check_password_again, renew_session, session_document, user_of_password


def session_routes(services: Services) -> APIRouter:
    """`/session`."""
    router = APIRouter(prefix=API_PREFIX, tags=["session"])
    deciding = services.deciding

    @router.post(
        "/session",
        summary="Sign in: the cookie names the session, the CSRF token goes with every change",
        status_code=201,
        response_class=JsonBytes,
        dependencies=[OwnPage],
        openapi_extra={"security": []},
        responses={
            201: json_answer(Session, examples.SESSION),
            **problem_responses(400, 401, 403, 409, 413, 422, 429, 503),
        },
    )
    async def sign_in(request: Request, shown: Credentials) -> Response:
        user_id = await user_of_password(services, request, shown.email, shown.password)
        return await begin_session(services, request, user_id)

    @router.get(
        "/session",
        summary="One's own session",
        response_class=JsonBytes,
        responses={200: json_answer(Session, examples.SESSION), **problem_responses(401, 429, 503)},
    )
    async def get_session(found: AskerSession) -> Response:
        return JsonBytes(await session_document(services, found.session))

    @router.delete(
        "/session",
        summary="Sign out",
        status_code=204,
        responses={204: {"description": "It has ended"}, **problem_responses(401, 403, 404, 409, 429, 503)},
    )
    async def sign_out(request: Request, asker: Asker, found: AskerSession) -> Response:
        await services.sessions.end(found)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.accounts.note_sign_out(found.session.user_id, cause))
        response = Response(status_code=204)
        clear_cookie(request, response)
        return response

    @router.post(
        "/session/reauthentication",
        summary="Show the password once more, for what is dangerous; the session gets a new cookie and CSRF token",
        response_class=JsonBytes,
        responses={
            200: json_answer(Session, examples.SESSION),
            **problem_responses(400, 401, 403, 413, 422, 429, 503),
        },
    )
    async def reauthenticate(request: Request, asker: Asker, found: AskerSession, shown: PasswordAgain) -> Response:
        await check_password_again(services, request, asker, shown.password)
        return await renew_session(services, request, found)

    return router
