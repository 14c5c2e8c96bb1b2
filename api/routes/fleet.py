"""The summary of the devices that one may see."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import examples
from api.asking import Asker
from api.fleet import fleet_summary
from api.once import KeptFor
from api.schemas import Fleet, json_answer, problem_responses
from api.services import API_PREFIX, JsonBytes, Services
from domain.lifecycle.policy import Principal, grants_on_site, permits

KEPT_FOR_S = 2.0
_MOST_KEPT = 500


def fleet_routes(services: Services) -> APIRouter:
    """`/fleet`."""
    router = APIRouter(prefix=API_PREFIX, tags=["fleet"])
    deciding = services.deciding
    kept: dict[tuple[str | None, int], KeptFor[dict[str, Any]]] = {}

    def summary_for(asker: Principal) -> KeptFor[dict[str, Any]]:
        """One for all sessions and tokens of a user, until something changes in who may see what."""
        sight = deciding.sight(asker)
        is_admin = permits(asker, "site.dead_letters", grants_on_site(deciding.access, asker))
        key = (asker.user_id, sight.revision)
        if key not in kept:
            for old in [one for one in kept if one[0] == asker.user_id]:
                del kept[old]
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            ids = sight.device_ids
            kept[key] = KeptFor(lambda: fleet_summary(services, ids, with_dead_letters=is_admin), KEPT_FOR_S)
        return kept[key]

    @router.get(
        "/fleet",
        summary="One's devices, power now, energy today; for the site's admins dead letters",
        response_class=JsonBytes,
        responses={200: json_answer(Fleet, examples.FLEET), **problem_responses(401, 403, 429, 503)},
    )
    async def get_fleet(request: Request, asker: Asker) -> Response:
        await deciding.allow_site(request, asker, "account.see")
        return JsonBytes(msgspec.json.encode(await summary_for(asker).get()))

    return router
