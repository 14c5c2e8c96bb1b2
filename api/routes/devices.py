"""Devices and their newest readings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from api import examples
from api.asking import Asker
from api.cursors import decode_cursor, encode_cursor
from api.problems import no_reading
from api.queries import device_rows
from api.readings import Presence, decode_seen, judge_link
from api.routes.parameters import READ_PROBLEMS, CursorQuery, DeviceIdPath
from api.schemas import Device, LatestReadings, Page, Reading, json_answer, problem_responses
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.device_ids import parse_device_id
from domain.errors import InvalidInput
from domain.lifecycle.policy import Principal, deeds_on_device

_MAX_DEVICES_ASKED = 500
_SEARCH_PAGE = 500


def device_routes(services: Services) -> APIRouter:
    """`/devices` and `/latest`."""
    router = APIRouter(prefix=API_PREFIX, tags=["devices"])
    deciding = services.deciding

    @router.get(
        "/devices",
        summary="The devices that you may see by id, with presence and newest reading",
        response_class=JsonBytes,
        responses={200: json_answer(Page[Device], examples.DEVICES), **problem_responses(401, 403, 422, 429, 503)},
    )
    async def list_devices(
        request: Request,
        asker: Asker,
        online: Annotated[bool | None, Query(description="Only those that are, or are not, online.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        after = "" if cursor is None else decode_cursor(cursor, tuple[str])[0]
        await deciding.allow_site(request, asker, "account.see")
        items, last = await _device_page(services, asker, after, limit, online)
        token = None if last is None else encode_cursor((last,))
        return JsonBytes(msgspec.json.encode({"items": items, "next_cursor": token}))

    @router.get(
        "/devices/{device_id}",
        summary="One device",
        response_class=JsonBytes,
        responses={200: json_answer(Device, examples.DEVICE), **problem_responses(*READ_PROBLEMS)},
    )
    async def get_device(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        return JsonBytes(msgspec.json.encode((await _describe(services, asker, [device_id]))[0]))

    @router.get(
        "/devices/{device_id}/latest",
        summary="The newest reading of a device",
        response_class=JsonBytes,
        responses={200: json_answer(Reading, examples.READING), **problem_responses(*READ_PROBLEMS)},
    )
    async def get_latest(request: Request, asker: Asker, device_id: DeviceIdPath) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        document = (await services.latest.documents([device_id]))[0]
        if document is None:
            raise no_reading(device_id)
        return JsonBytes(document)

    @router.get(
        "/latest",
        summary="The newest readings of many devices",
        response_class=JsonBytes,
        responses={200: json_answer(LatestReadings, examples.LATEST), **problem_responses(401, 403, 422, 429, 503)},
    )
    async def get_latest_of_many(
        request: Request,
        asker: Asker,
        device: Annotated[list[str], Query(min_length=1, max_length=_MAX_DEVICES_ASKED, examples=[["kitchen-kettle"]])],
    ) -> Response:
        device_ids = parse_device_ids(device)
        await deciding.allow_site(request, asker, "account.see")
        may_see = deciding.sight(asker).device_id_set
        visible = [device_id for device_id in device_ids if device_id in may_see]
        documents = dict(zip(visible, await services.latest.documents(visible), strict=True))
        found = b",".join(document for document in documents.values() if document is not None)
        missing = [device_id for device_id in device_ids if documents.get(device_id) is None]
        return JsonBytes(b'{"items":[%b],"missing":%b}' % (found, msgspec.json.encode(missing)))

    return router


def parse_device_ids(texts: Sequence[str]) -> list[str]:
    """Device ids from repeated `device` parameters, each once.

    Raises:
        InvalidInput: one of them is not a device id.
    """
    try:
        return list(dict.fromkeys(map(parse_device_id, texts)))
    except InvalidInput as error:
        raise InvalidInput("device", error.detail) from error


async def _device_page(
    services: Services, asker: Principal, after: str, limit: int, online: bool | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Up to `limit` of the asker's devices after `after`, and the last one's id if more follow."""
    device_ids = services.deciding.sight(asker).device_ids
    items: list[dict[str, Any]] = []
    position = bisect_right(device_ids, after)
    while position < len(device_ids):
        some = device_ids[position : position + (limit if online is None else _SEARCH_PAGE)]
        for item in await _describe(services, asker, some):
            if online is None or item["online"] is online:
                if len(items) == limit:
                    return items, items[-1]["device_id"]
                items.append(item)
        position += len(some)
        if online is None:
            break
    return items, items[-1]["device_id"] if position < len(device_ids) else None


async def _describe(services: Services, asker: Principal, device_ids: Sequence[str]) -> list[dict[str, Any]]:
    people, devices = services.deciding.people, services.deciding.access.devices
    known = [devices[device_id] for device_id in device_ids]
    rows = await services.database.ask(device_rows, device_ids)
    documents = await services.latest.documents(device_ids)
    named = await services.deciding.look(
        lambda: [(people.device_name(one), people.device_location(one)) for one in known]
    )
    return [
        {
            "device_id": device.device_id,
            "name": name,
            "location": location,
            "tenant_id": device.tenant_id,
            "may": deeds_on_device(services.deciding.access, asker, device.device_id),
            "config_desired_version": device.config_version,
            **_heard(services, rows.get(device.device_id), document),
        }
        for device, (name, location), document in zip(known, named, documents, strict=True)
    ]


def _heard(services: Services, row: Row[Any] | None, document: bytes | None) -> dict[str, Any]:
    """What the device has said; of one that was registered and never heard of, nothing."""
    received_at = None if document is None else to_ms(decode_seen(document).received_at)
    presence = Presence(None, None) if row is None else Presence(row.online, row.presence_at_ms)
    link = judge_link(presence, received_at, now_ms=services.clock.now_ms(), offline_after_s=services.offline_after_s)
    return {
        "online": link.online,
        "last_seen_at": None if link.last_seen_at_ms is None else format_instant(link.last_seen_at_ms),
        "first_seen_at": None if row is None else format_instant(row.first_seen_at_ms),
        "boot": None if row is None else row.boot,
        "firmware": None if row is None else row.firmware,
        "config": None if row is None else row.config,
        "latest": None if document is None else msgspec.Raw(document),
    }
