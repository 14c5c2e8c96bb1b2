"""Showing a password: to begin a session, or to prove once more whose it is."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.addresses import client_address, counted_as
from api.deciding import REAUTHENTICATED_FOR
from api.problems import Forbidden, Unauthenticated
from api.services import JsonBytes, Services
from api.sessions import LONGEST_S, FoundSession, Session, cookie_of, forgotten, set_cookie
from api.time_ranges import format_instant
from domain.errors import Missing
from domain.lifecycle.policy import Principal


async def user_of_password(services: Services, request: Request, email: str, password: str) -> str:
    """Whose email and password these are.

    Known and unknown emails cost the same work and get the same answers, lock-out included.

    Raises:
        Unauthenticated: nobody's.
        TooMany: too many wrong ones.
    """
    deciding = services.deciding
    account, address = deciding.accounts.name_hash(email), _address(request)
    await services.rate_limits.count_strictly("sign-in", request)
    await services.lockout.begin(account, address)
    user_id = await deciding.check_password(lambda: deciding.accounts.authenticate(email, password))
    if user_id is None:
        deciding.note_denial(request, None, "session.begin", f"account:{account[:16]}", "wrong-credentials")
        raise Unauthenticated("wrong email or password", kind="wrong-credentials")
    await services.lockout.succeed(account, address)
    return user_id


async def check_password_again(services: Services, request: Request, principal: Principal, password: str) -> None:
    """Return if it is the asker's password. Raises `Forbidden`, `TooMany`."""
    deciding, user_id, address = services.deciding, principal.user_id or "", _address(request)
    await services.rate_limits.count_strictly("sign-in", request)
    await services.lockout.begin(user_id, address)
    if not await deciding.check_password(lambda: deciding.accounts.is_password(user_id, password)):
        deciding.note_denial(request, principal, "session.reauthenticate", f"user:{user_id}", "wrong-password")
        raise Forbidden("wrong-password", "this is not your password")
    await services.lockout.succeed(user_id, address)


async def begin_session(services: Services, request: Request, user_id: str) -> Response:
    """The answer that signs a user in; whatever session the browser had ends.

    Raises:
        Unauthenticated: the user was forgotten meanwhile.
    """
    deciding = services.deciding
    principal = Principal(f"user:{user_id}", user_id)
    await deciding.prepare_cause(request, principal)
    cause = deciding.cause(request, principal)
    try:
        await deciding.decide(lambda: deciding.accounts.note_sign_in(user_id, cause))
    except Missing as error:
        raise forgotten() from error
    cookie = cookie_of(request)
    if cookie is not None:
        await services.sessions.end_cookie(cookie)
    new = await services.sessions.begin(user_id)
    response = JsonBytes(await session_document(services, new.session), 201)
    set_cookie(request, response, new.cookie)
    return response


async def renew_session(services: Services, request: Request, found: FoundSession) -> Response:
    """The answer that gives a session a new id, its password just shown."""
    new = await services.sessions.renew(found)
    response = JsonBytes(await session_document(services, new.session))
    set_cookie(request, response, new.cookie)
    return response


async def session_document(services: Services, session: Session) -> bytes:
    """A session as JSON."""
    deciding = services.deciding
    user, people = deciding.access.users.get(session.user_id), deciding.people
    name, email = await deciding.look(lambda: (people.name_of(user), people.email_of(user)))
    shown_ms = session.authenticated_at_ms
    members: dict[str, Any] = {
        "user_id": session.user_id,
        "name": name,
        "email": email,
        "admin": session.user_id in deciding.access.admins,
        "csrf_token": session.csrf_token,
        "authenticated_at": format_instant(shown_ms),
        "reauthentication_after": format_instant(shown_ms + int(REAUTHENTICATED_FOR.total_seconds() * 1000)),
        "expires_at": format_instant(session.began_at_ms + LONGEST_S * 1000),
    }
    return msgspec.json.encode(members)


def _address(request: Request) -> str:
    return counted_as(client_address(request.scope))
