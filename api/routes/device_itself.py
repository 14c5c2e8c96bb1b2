"""What a device asks for over HTTP, with its own token."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from api import examples_sessions as examples
from api.asking import Asker
from api.deciding import Deciding
from api.schemas import json_answer, problem_responses
from api.schemas_sessions import DeviceItself
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import format_instant
from domain.errors import Denied
from domain.lifecycle.policy import Principal


def device_itself_routes(services: Services) -> APIRouter:
    """`/device`."""
    router = APIRouter(prefix=API_PREFIX, tags=["device"])
    deciding = services.deciding

    @router.get(
        "/device",
        summary="A device's own id, the time, and its desired configuration",
        response_class=JsonBytes,
        responses={200: json_answer(DeviceItself, examples.DEVICE_ITSELF), **problem_responses(401, 403, 429, 503)},
    )
    async def get_itself(request: Request, asker: Asker) -> Response:
        device = deciding.access.devices[await device_asking(deciding, request, asker)]
        document = {
            "device_id": device.device_id,
            "server_time": format_instant(services.clock.now_ms()),
            "config_version": device.config_version,
            "config": device.config,
        }
        return JsonBytes(msgspec.json.encode(document))

    return router


async def device_asking(deciding: Deciding, request: HTTPConnection, asker: Principal) -> str:
    """The id of the device that asks.

    Raises:
        Denied: it is none.
    """
    if asker.device_id is None:
        deciding.note_denial(request, asker, "device.act_as", f"user:{asker.user_id}", "forbidden")
        raise Denied("forbidden", "this is for devices: ask with a device's own token")
    await deciding.allow_device(request, asker, "device.act_as", asker.device_id)
    return asker.device_id
