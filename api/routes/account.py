"""One's own account: name, email, password, API tokens, and being forgotten."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker, AskerIdentity
from api.inputs import TokenIdPath
from api.people import account_document
from api.routes.parameters import CHANGE_PROBLEMS, NO_CONTENT, user_id_of
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Account, AccountChange, ApiToken, IssuedApiToken, Items, NewApiToken, NewPassword
from api.services import API_PREFIX, JsonBytes, Services
from api.sessions import clear_cookie
from api.time_ranges import format_instant, parse_instant
from domain.clock import to_instant, to_ms
from domain.errors import Missing
from domain.lifecycle.access import ApiToken as KnownToken
from domain.lifecycle.departure import plan_departure
from domain.lifecycle.tokens import token_sha256


def account_routes(services: Services) -> APIRouter:
    """`/account` and what is below it."""
    router = APIRouter(prefix=API_PREFIX, tags=["account"])
    deciding = services.deciding

    @router.get(
        "/account",
        summary="One's own account",
        response_class=JsonBytes,
        responses={200: json_answer(Account, examples.ACCOUNT), **problem_responses(401, 403, 404, 429, 503)},
    )
    async def get_account(request: Request, asker: Asker) -> Response:
        await deciding.allow_site(request, asker, "account.see")
        return await _account(user_id_of(asker))

    @router.patch(
        "/account",
        summary="Change one's name or email",
        response_class=JsonBytes,
        responses={
            200: json_answer(Account, examples.ACCOUNT),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def change_account(request: Request, asker: Asker, change: AccountChange) -> Response:
        await deciding.allow_site(request, asker, "account.change")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        if change.email is not None:
            email = change.email
            # The answer tells whether somebody has it, as a sign-up does to whoever signs in afterwards.
            await services.rate_limits.count_strictly("sign-up", request, user_id)
            await deciding.decide(lambda: deciding.accounts.change_email(user_id, email, cause))
        if change.name is not None:
            name = change.name
            await deciding.decide(lambda: deciding.accounts.rename(user_id, name, cause))
        return await _account(user_id)

    @router.delete(
        "/account",
        summary="Be forgotten: what is personal can never be read again",
        description="Tenants without other members are dissolved, their sockets taken out of use. Who is the last "
        "owner of a tenant with other members, or the site's last admin, hands over first.",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 429, 503)},
    )
    async def forget_account(request: Request, asker: Asker) -> Response:
        # Another process may just have let somebody join.
        await deciding.follower.catch_up()
        await deciding.allow_site(request, asker, "account.change")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        departure = plan_departure(deciding.access, user_id, deciding.follower.position)
        await deciding.decide(lambda: deciding.farewell.carry_out(departure, cause))
        await services.sessions.end_all(user_id)
        answer = Response(status_code=204)
        clear_cookie(request, answer)
        return answer

    @router.put(
        "/account/password",
        summary="Change one's password; all other sessions end",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def change_password(request: Request, identity: AskerIdentity, new: NewPassword) -> Response:
        asker = identity.principal
        await deciding.allow_site(request, asker, "account.change")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.accounts.change_password(user_id, new.password, cause), hashes=True)
        await services.sessions.end_others(user_id, identity.found)
        return Response(status_code=204)

    @router.get(
        "/account/tokens",
        summary="One's API tokens",
        response_class=JsonBytes,
        responses={200: json_answer(Items[ApiToken], examples.API_TOKENS), **problem_responses(401, 403, 429, 503)},
    )
    async def list_tokens(request: Request, asker: Asker) -> Response:
        await deciding.allow_site(request, asker, "account.see")
        hashes = deciding.access.users[user_id_of(asker)].tokens.values()
        known, people = [deciding.access.api_tokens[token_hash] for token_hash in hashes], deciding.people
        items = await deciding.look(lambda: [_token(one, people.token_label(one)) for one in known])
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.post(
        "/account/tokens",
        summary="A token for a program, shown this once",
        status_code=201,
        response_class=JsonBytes,
        responses={
            201: json_answer(IssuedApiToken, examples.ISSUED_API_TOKEN),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def issue_token(request: Request, asker: Asker, new: NewApiToken) -> Response:
        await deciding.allow_site(request, asker, "account.change")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        expires_at = to_instant(parse_instant(new.expires_at, name="expires_at", now_ms=services.clock.now_ms()))
        issued = await deciding.decide(
            lambda: deciding.accounts.issue_api_token(
                user_id, cause, label=new.label, scope=new.scope, expires_at=expires_at
            )
        )
        known = deciding.access.api_tokens[token_sha256(issued.token)]
        return JsonBytes(msgspec.json.encode(_token(known, new.label) | {"token": issued.token}), 201)

    @router.delete(
        "/account/tokens/{token_id}",
        summary="Revoke an API token",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def revoke_token(request: Request, asker: Asker, token_id: TokenIdPath) -> Response:
        await deciding.allow_site(request, asker, "account.change")
        user_id, cause = user_id_of(asker), deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.accounts.revoke_api_token(user_id, token_id, cause))
        return Response(status_code=204)

    async def _account(user_id: str) -> Response:
        access, people, user = deciding.access, deciding.people, deciding.access.users.get(user_id)
        if user is None:
            raise Missing("unknown-user", "this account was forgotten meanwhile")
        document = await deciding.look(lambda: account_document(access, people, user))
        return JsonBytes(msgspec.json.encode(document))

    return router


def _token(known: KnownToken, label: str | None) -> dict[str, Any]:
    return {
        "token_id": known.token_id,
        "label": label,
        "scope": known.scope,
        "issued_at": format_instant(to_ms(known.issued_at)),
        "expires_at": format_instant(to_ms(known.expires_at)),
    }
