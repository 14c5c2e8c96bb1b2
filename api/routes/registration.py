"""Sockets come and go: registered (one or many), described, given another token, taken out of use."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import examples_lifecycle as examples
from api.asking import Asker
from api.csv_devices import LinesWrong, read_devices
from api.inputs import TenantIdPath
from api.negotiation import CSV, negotiate
from api.people import device_document
from api.problems import problem
from api.routes.parameters import CHANGE_PROBLEMS, NO_CONTENT, DeviceIdPath
from api.schemas import json_answer, problem_responses
from api.schemas_accounts import Items
from api.schemas_sockets import DescribedDevice, DeviceDescription, NewDevice, RegisteredDevice
from api.services import API_PREFIX, JsonBytes, Services
from domain.lifecycle.sockets import NewDevice as Wanted
from domain.lifecycle.sockets import RegisteredDevice as Registered

_BULK_BODY = {
    "requestBody": {
        "required": True,
        "content": {CSV: {"schema": {"type": "string"}, "example": examples.DEVICES_CSV}},
    }
}


def registration_routes(services: Services) -> APIRouter:
    """`/tenants/{id}/devices`, and what changes `/devices/{id}` itself."""
    router = APIRouter(prefix=API_PREFIX, tags=["devices"])
    deciding = services.deciding
    bulk_answer = json_answer(Items[RegisteredDevice], examples.REGISTERED_DEVICES)
    bulk_answer["content"][CSV] = {"schema": {"type": "string"}, "example": examples.REGISTERED_CSV}

    @router.post(
        "/tenants/{tenant_id}/devices",
        summary="Register a socket; its token is shown this once",
        description="If the answer is lost, the socket may be registered all the same: another token for it is the "
        "remedy.",
        status_code=201,
        response_class=JsonBytes,
        responses={
            201: json_answer(RegisteredDevice, examples.REGISTERED_DEVICE),
            **problem_responses(*CHANGE_PROBLEMS),
        },
    )
    async def register_device(request: Request, asker: Asker, tenant_id: TenantIdPath, new: NewDevice) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.register_device", tenant_id)
        cause, wanted = deciding.cause(request, asker), Wanted(new.device_id, new.name, new.location)
        registered, _ = await deciding.decide(lambda: deciding.sockets.register(tenant_id, [wanted], cause))
        headers = {"Location": f"{API_PREFIX}/devices/{new.device_id}"}
        return JsonBytes(msgspec.json.encode(registered[0]._asdict()), 201, headers)

    @router.post(
        "/tenants/{tenant_id}/devices/bulk",
        summary="Register up to 5,000 sockets from CSV, all of them or none",
        description="Columns `device_id,name,location`. Every wrong line is named. Answers the tokens, shown this "
        "once, as JSON or (`Accept: text/csv`) as CSV. If the answer is lost, all may be registered all the same: "
        "another token for each is the remedy.",
        status_code=201,
        response_class=JsonBytes,
        responses={201: bulk_answer, **problem_responses(*CHANGE_PROBLEMS, 406)},
        openapi_extra=_BULK_BODY,
    )
    async def register_devices(request: Request, asker: Asker, tenant_id: TenantIdPath) -> Response:
        await deciding.allow_tenant(request, asker, "tenant.register_device", tenant_id)
        offered = negotiate(request.headers.get("accept"))
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CSV:
            raise HTTPException(415, f"send the list as {CSV}")
        body, cause = await request.body(), deciding.cause(request, asker)
        try:
            wanted = await deciding.look(lambda: read_devices(body, deciding.access, tenant_id))
        except LinesWrong as error:
            errors = [{"parameter": f"line {number}", "detail": text} for number, text in error.lines]
            return problem(request, 422, "invalid-lines", f"nothing was registered: {error}", errors=errors)
        registered, _ = await deciding.decide(lambda: deciding.sockets.register(tenant_id, wanted, cause))
        return _tokens(registered, offered)

    @router.patch(
        "/devices/{device_id}",
        summary="Rename a socket, or say where it is",
        response_class=JsonBytes,
        responses={200: json_answer(DescribedDevice, examples.DESCRIBED_DEVICE), **problem_responses(*CHANGE_PROBLEMS)},
    )
    async def describe_device(
        request: Request, asker: Asker, device_id: DeviceIdPath, change: DeviceDescription
    ) -> Response:
        await deciding.allow_device(request, asker, "device.describe", device_id)
        access, people, cause = deciding.access, deciding.people, deciding.cause(request, asker)
        known = access.devices[device_id]

        def describe() -> None:
            name = change.name or people.device_name(known) or device_id
            relocated = "location" in change.model_fields_set
            location = change.location if relocated else people.device_location(known)
            deciding.sockets.describe(device_id, known.tenant_id, cause, name=name, location=location)

        await deciding.decide(describe)
        document = await deciding.look(lambda: device_document(people, access.devices[device_id]))
        return JsonBytes(msgspec.json.encode(document))

    @router.post(
        "/devices/{device_id}/token",
        summary="Another token, shown this once; the old one ends at once",
        description="If the answer is lost, the old token may have ended all the same: ask once more.",
        response_class=JsonBytes,
        responses={
            200: json_answer(RegisteredDevice, examples.REGISTERED_DEVICE),
            **problem_responses(401, 403, 404, 409, 422, 429, 503),
        },
    )
    async def rotate_token(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.rotate_token", device_id)
        cause = deciding.cause(request, asker)
        token, _ = await deciding.decide(lambda: deciding.sockets.rotate_token(device_id, cause))
        return JsonBytes(msgspec.json.encode({"device_id": device_id, "token": token}))

    @router.delete(
        "/devices/{device_id}",
        summary="Take a socket out of use; its history stays",
        status_code=204,
        responses={204: NO_CONTENT, **problem_responses(401, 403, 404, 409, 422, 429, 503)},
    )
    async def decommission(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.decommission", device_id)
        cause = deciding.cause(request, asker)
        await deciding.decide(lambda: deciding.sockets.decommission(device_id, cause))
        return Response(status_code=204)

    return router


def _tokens(registered: Sequence[Registered], offered: str) -> Response:
    if offered == CSV:
        text = io.StringIO()
        csv.writer(text).writerows([Registered._fields, *registered])
        return Response(text.getvalue(), 201, {"Cache-Control": "no-store"}, f"{CSV}; charset=utf-8")
    items: list[dict[str, Any]] = [one._asdict() for one in registered]
    return JsonBytes(msgspec.json.encode({"items": items}), 201, {"Cache-Control": "no-store"})
