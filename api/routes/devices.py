"""Devices and their newest readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from sqlalchemy import Row
from starlette.responses import Response

from api import examples
from api.cursors import decode_cursor, encode_cursor
from api.problems import NotFound, unknown_device
from api.queries import device_row, device_rows
from api.readings import Presence, decode_seen, judge_link
from api.routes.parameters import CursorQuery, DeviceIdPath
from api.schemas import Device, LatestReadings, Page, Reading, json_answer, problem_responses
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import format_instant
from domain.clock import to_ms
from domain.device_ids import parse_device_id
from domain.errors import InvalidInput

_MAX_DEVICES_ASKED = 500
_SEARCH_PAGE = 500


def device_routes(services: Services) -> APIRouter:
    """`/devices` and `/latest`."""
    router = APIRouter(prefix=API_PREFIX, tags=["devices"])

    @router.get(
        "/devices",
        summary="All devices by id, with presence and newest reading",
        response_class=JsonBytes,
        responses={200: json_answer(Page[Device], examples.DEVICES), **problem_responses(422, 503)},
    )
    async def list_devices(
        online: Annotated[bool | None, Query(description="Only those that are, or are not, online.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        after = "" if cursor is None else decode_cursor(cursor, tuple[str])[0]
        items, last = await _device_page(services, after, limit, online)
        token = None if last is None else encode_cursor((last,))
        return JsonBytes(msgspec.json.encode({"items": items, "next_cursor": token}))

    @router.get(
        "/devices/{device_id}",
        summary="One device",
        response_class=JsonBytes,
        responses={200: json_answer(Device, examples.DEVICE), **problem_responses(404, 422, 503)},
    )
    async def get_device(device_id: DeviceIdPath) -> Response:
        row = await services.database.ask(device_row, device_id)
        if row is None:
            raise unknown_device(device_id)
        return JsonBytes(msgspec.json.encode((await _describe(services, [row]))[0]))

    @router.get(
        "/devices/{device_id}/latest",
        summary="The newest reading of a device",
        response_class=JsonBytes,
        responses={200: json_answer(Reading, examples.READING), **problem_responses(404, 422, 503)},
    )
    async def get_latest(device_id: DeviceIdPath) -> Response:
        document = (await services.latest.documents([device_id]))[0]
        if document is None:
            raise await _no_reading(services, device_id)
        return JsonBytes(document)

    @router.get(
        "/latest",
        summary="The newest readings of many devices",
        response_class=JsonBytes,
        responses={200: json_answer(LatestReadings, examples.LATEST), **problem_responses(422, 503)},
    )
    async def get_latest_of_many(
        device: Annotated[list[str], Query(min_length=1, max_length=_MAX_DEVICES_ASKED, examples=[["kitchen-kettle"]])],
    ) -> Response:
        device_ids = parse_device_ids(device)
        documents = await services.latest.documents(device_ids)
        found = b",".join(document for document in documents if document is not None)
        missing = [name for name, document in zip(device_ids, documents, strict=True) if document is None]
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


async def _no_reading(services: Services, device_id: str) -> NotFound:
    if await services.database.ask(device_row, device_id) is None:
        return unknown_device(device_id)
    return NotFound("no-reading", f"device {device_id!r} has not sent a reading yet")


async def _device_page(
    services: Services, after: str, limit: int, online: bool | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Up to `limit` devices after `after`, and the last one's id if more follow."""
    items: list[dict[str, Any]] = []
    while True:
        size = limit if online is None else _SEARCH_PAGE
        rows = await services.database.ask(device_rows, after, size + 1)
        for item in await _describe(services, rows[:size]):
            if online is None or item["online"] is online:
                if len(items) == limit:
                    return items, items[-1]["device_id"]
                items.append(item)
        if len(rows) <= size:
            return items, None
        after = rows[size - 1].device_id
        if online is None:
            return items, after


async def _describe(services: Services, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    documents = await services.latest.documents([row.device_id for row in rows])
    return [_device_item(services, row, document) for row, document in zip(rows, documents, strict=True)]


def _device_item(services: Services, row: Row[Any], document: bytes | None) -> dict[str, Any]:
    received_at = None if document is None else to_ms(decode_seen(document).received_at)
    presence = Presence(row.online, row.presence_at_ms)
    link = judge_link(presence, received_at, now_ms=services.clock.now_ms(), offline_after_s=services.offline_after_s)
    return {
        "device_id": row.device_id,
        "online": link.online,
        "last_seen_at": None if link.last_seen_at_ms is None else format_instant(link.last_seen_at_ms),
        "first_seen_at": format_instant(row.first_seen_at_ms),
        "boot": row.boot,
        "firmware": row.firmware,
        "config": row.config,
        "latest": None if document is None else msgspec.Raw(document),
    }
