"""The site's admins."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.inputs import UserIdPath
from api.routes.parameters import NO_CONTENT
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Admin, Items
from api.services import API_PREFIX, JsonBytes, Services
from domain.errors import Missing


def site_routes(services: Services) -> APIRouter:
    """`/site/admins`."""
    router = APIRouter(prefix=API_PREFIX, tags=["site"])
    deciding = services.deciding

    @router.get(
        "/site/admins",
        summary="Who are the site's admins",
        response_class=JsonBytes,
        responses={200: json_answer(Items[Admin], examples.ADMINS), **problem_responses(401, 403, 429, 503)},
    )
    async def list_admins(request: Request, asker: Asker) -> Response:
        await deciding.allow_site(request, asker, "site.admins")
        people, users = deciding.people, deciding.access.users
        admins = [users[user_id] for user_id in sorted(deciding.access.admins)]
        items = await deciding.look(
            lambda: [
                {"user_id": one.user_id, "name": people.name_of(one), "email": people.email_of(one)} for one in admins
            ]
        )
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.put(
        "/site/admins/{user_id}",
        summary="Make a user an admin",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def grant_admin(request: Request, asker: Asker, user_id: UserIdPath) -> Response:
        await deciding.allow_site(request, asker, "site.admins")
        if user_id not in deciding.access.users:
            raise Missing("unknown-user", "no such user")
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.accounts.grant_admin(user_id, cause))
        return Response(status_code=204)

    @router.delete(
        "/site/admins/{user_id}",
        summary="Let a user be an admin no longer",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def revoke_admin(request: Request, asker: Asker, user_id: UserIdPath) -> Response:
        await deciding.allow_site(request, asker, "site.admins")
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.accounts.revoke_admin(user_id, cause))
        return Response(status_code=204)

    return router
