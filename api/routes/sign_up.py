"""Becoming a user: the first one with the one-time code, later ones as the operator allows it."""

from __future__ import annotations

import asyncio
import time

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_sessions as examples
from api.asking import OwnPage
from api.problems import Forbidden
from api.protection import Protection
from api.routes.invitations import invitation_subject
from api.schemas import json_answer, problem_responses
from api.schemas_sessions import Session, SetUp, SetUpState, SignUp, SignUpAccepted
from api.services import API_PREFIX, JsonBytes, Services
from api.signing_in import begin_session
from domain.errors import Missing, RuleBroken
from domain.lifecycle.access import Invitation
from domain.lifecycle.cause import Cause
from domain.lifecycle.claim import FirstUser, claim, own_tenant_name, ownerless_tenants
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.tokens import token_sha256

TAKES_S = 0.4
"""Longer than the work, so that nobody can tell a taken email from a free one by the time it takes."""


def sign_up_routes(services: Services, protection: Protection) -> APIRouter:
    """`/set-up` and `/users`."""
    router = APIRouter(prefix=API_PREFIX, tags=["sign-up"])
    deciding = services.deciding

    @router.get(
        "/set-up",
        summary="Whether somebody has to set this installation up, and who may sign up",
        response_class=JsonBytes,
        responses={200: json_answer(SetUpState, examples.SET_UP_STATE), **problem_responses(429, 503)},
    )
    async def get_set_up() -> Response:
        if not deciding.access.claimed:
            # Another process (`wattaway set-up`) may just have done it.
            await deciding.follower.catch_up()
        state = {"needed": not deciding.access.claimed, "sign_up": protection.sign_up}
        return JsonBytes(msgspec.json.encode(state))

    @router.post(
        "/set-up",
        summary="The first user: admin of the site, and owner of all tenants that have no members",
        status_code=201,
        response_class=JsonBytes,
        dependencies=[OwnPage],
        responses={
            201: json_answer(Session, examples.SESSION),
            **problem_responses(400, 403, 409, 413, 422, 429, 503),
        },
    )
    async def set_up(request: Request, new: SetUp) -> Response:
        await services.rate_limits.count_strictly("set-up", request)
        # Another process may just have done it.
        await deciding.follower.catch_up()
        if deciding.access.claimed:
            raise RuleBroken("already-set-up", "somebody has set this installation up already; sign in")
        cause = deciding.cause(request, None)

        def claim_once() -> str | None:
            with protection.hold_set_up_code(new.code) as is_good:
                return _claim(services, new, cause) if is_good else None

        user_id = await deciding.decide(claim_once, hashes=True)
        if user_id is None:
            deciding.note_denial(request, None, "site.claim", "site", "wrong-code")
            raise Forbidden("wrong-code", "this is not the code that `wattaway up` shows, or it was used")
        return await begin_session(services, request, user_id)

    @router.post(
        "/users",
        summary="Sign up; with an invitation, join its tenant",
        description="The answer is the same whether or not somebody has that email already: sign in to find out.",
        status_code=202,
        response_class=JsonBytes,
        dependencies=[OwnPage],
        responses={
            202: json_answer(SignUpAccepted, examples.SIGN_UP_ACCEPTED),
            **problem_responses(400, 403, 404, 409, 413, 422, 429, 503),
        },
    )
    async def sign_up(request: Request, new: SignUp) -> Response:
        ends_s = time.monotonic() + TAKES_S
        await services.rate_limits.count_strictly("sign-up", request)
        if not deciding.access.claimed:
            raise RuleBroken("not-set-up", "this installation has to be set up first")
        try:
            invitation = _check_allowed(services, protection, new.invitation)
        except (Forbidden, Missing) as refusal:
            subject = invitation_subject(deciding.access, new.invitation or "")
            deciding.note_denial(request, None, "site.sign_up", subject, refusal.kind)
            raise
        cause = deciding.cause(request, None)
        await deciding.decide(lambda: _join(services, new, invitation, cause), hashes=True)
        await asyncio.sleep(ends_s - time.monotonic())
        return JsonBytes(b'{"status":"accepted"}', 202)

    return router


def _claim(services: Services, new: SetUp, cause: Cause) -> str:
    deciding = services.deciding
    first = FirstUser(new.email, new.name, new.password, new.tenant_name)
    return claim(deciding.accounts, deciding.tenancy, ownerless_tenants(deciding.access), first, cause)


def _check_allowed(services: Services, protection: Protection, token: str | None) -> Invitation | None:
    """The invitation that came, if any.

    Raises:
        Forbidden: nobody may sign up, or not without an invitation.
        Missing: no such invitation.
    """
    if protection.sign_up == "closed":
        raise Forbidden("sign-up-closed", "nobody may sign up here")
    if token is None:
        if protection.sign_up == "invitation":
            raise Forbidden("invitation-needed", "ask an owner here for an invitation")
        return None
    invitation = services.deciding.access.invitations.get(token_sha256(token))
    if invitation is None or invitation.expires_at <= services.deciding.now():
        raise Missing("unknown-invitation", "no such invitation, or it was used or has expired")
    return invitation


def _join(services: Services, new: SignUp, invitation: Invitation | None, cause: Cause) -> None:
    accounts, tenancy = services.deciding.accounts, services.deciding.tenancy

    def join(user_id: str) -> list[Tenant]:
        if invitation is None:
            return []
        return [tenancy.accepted(invitation.tenant_id, invitation.invitation_id, user_id, cause)]

    tenant_name = None if invitation is not None else new.tenant_name or own_tenant_name(new.name)
    try:
        accounts.sign_up(
            cause, email=new.email, name=new.name, password=new.password, tenant_name=tenant_name, joining=join
        )
    except RuleBroken as error:
        if error.kind != "name-taken":
            raise
