"""The fleet's summary."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from api import examples
from api.fleet import fleet_summary
from api.once import KeptFor
from api.schemas import Fleet, json_answer, problem_responses
from api.services import API_PREFIX, JsonBytes, Services

KEPT_FOR_S = 2.0


def fleet_routes(services: Services) -> APIRouter:
    """`/fleet`."""
    router = APIRouter(prefix=API_PREFIX, tags=["fleet"])
    summary = KeptFor(lambda: fleet_summary(services), KEPT_FOR_S)

    @router.get(
        "/fleet",
        summary="Devices, power now, energy today, dead letters",
        response_class=JsonBytes,
        responses={200: json_answer(Fleet, examples.FLEET), **problem_responses(503)},
    )
    async def get_fleet() -> Response:
        return JsonBytes(msgspec.json.encode(await summary.get()))

    return router
