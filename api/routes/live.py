"""The live feed over WebSocket and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect

from api.live import LiveEvent
from api.problems import RETRY_AFTER_S, problem
from api.routes.devices import parse_device_ids
from api.schemas import problem_responses
from api.services import API_PREFIX, Services
from domain.errors import InvalidInput

SEND_TIMEOUT_S = 30.0
_MAX_DEVICES = 500
_SSE_EXAMPLE = (
    'event: readings\nid: 5f0c2a9e-4711\ndata: {"type":"readings","id":"5f0c2a9e-4711","items":[{"device_id":'
    '"kitchen-kettle","boot":"9f3a61c2","seq":17,"measured_at":"2026-11-23T17:00:00.123000Z","received_at":'
    '"2026-11-23T17:00:00.210000Z","power_w":98.2}]}\n\n'
)
_SSE_DESCRIPTION = """
Events: `hello` (first), `readings` and `presence` (`items`), `missed` (`count` items were dropped because this client
reads too slowly; null: nobody knows how many, so ask `latest` again), `heartbeat`. The same JSON comes over the
WebSocket at `/api/v1/live`, one event a text frame.

`Last-Event-ID`: the server remembers the last 10,000 items. A client that comes back within those gets what it missed;
one that comes back later, or to another process, gets `missed` with `count` null.
"""
_DeviceQuery = Annotated[
    list[str] | None, Query(max_length=_MAX_DEVICES, description="Only these devices; all if left out.")
]


def live_routes(services: Services) -> APIRouter:
    """`/live` (WebSocket) and `/live/events` (SSE)."""
    router = APIRouter(prefix=API_PREFIX, tags=["live"])

    @router.get(
        "/live/events",
        summary="What is projected right now, as server-sent events",
        description=_SSE_DESCRIPTION,
        response_class=StreamingResponse,
        responses={
            200: {"description": "A stream", "content": {"text/event-stream": {"example": _SSE_EXAMPLE}}},
            **problem_responses(422, 503),
        },
    )
    async def get_events(
        request: Request,
        device: _DeviceQuery = None,
        last_event_id: Annotated[str | None, Header(max_length=80)] = None,
    ) -> Response:
        if services.feed.full:
            return _too_many(request)
        device_ids = frozenset(parse_device_ids(device)) if device else None
        events = services.feed.events(device_ids, transport="sse", last_event_id=last_event_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_as_sse(events), media_type="text/event-stream", headers=headers)

    @router.websocket("/live")
    async def serve_websocket(websocket: WebSocket) -> None:
        refusal = _refusal(services, websocket)
        if refusal is not None:
            await websocket.send_denial_response(refusal)
            return
        device = websocket.query_params.getlist("device")
        await websocket.accept()
        events = services.feed.events(
            frozenset(parse_device_ids(device)) if device else None,
            transport="websocket",
            last_event_id=websocket.query_params.get("last_event_id"),
        )
        await _serve(websocket, events)

    return router


def _too_many(request: Request | WebSocket) -> Response:
    detail = "too many live clients; try again later"
    return problem(request, 503, "too-many-clients", detail, headers={"Retry-After": str(10 * RETRY_AFTER_S)})


def _refusal(services: Services, websocket: WebSocket) -> Response | None:
    """Why this client may not connect: browsers let any web page open a WebSocket, so its origin must be ours."""
    origin, host = websocket.headers.get("origin"), websocket.headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc != host:
        return problem(websocket, 403, "forbidden", f"a page from {origin[:100]!r} may not read this feed")
    try:
        _check_devices(websocket.query_params.getlist("device"))
    except InvalidInput as error:
        return problem(websocket, 422, "invalid-parameter", error.detail)
    return _too_many(websocket) if services.feed.full else None


def _check_devices(device: Sequence[str]) -> None:
    parse_device_ids(device)
    if len(device) > _MAX_DEVICES:
        raise InvalidInput("device", f"{len(device)} devices are more than {_MAX_DEVICES}")


async def _as_sse(events: AsyncIterator[LiveEvent]) -> AsyncIterator[bytes]:
    async for event in events:
        head = b"" if event.id is None else b"id: %b\n" % event.id.encode()
        yield b"event: %b\n%bdata: %b\n\n" % (event.name.encode(), head, event.data)


async def _serve(websocket: WebSocket, events: AsyncIterator[LiveEvent]) -> None:
    """Send until the client leaves, stalls for `SEND_TIMEOUT_S`, or the server stops."""
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send_all(websocket, events))
            group.create_task(_watch_for_goodbye(websocket, sending))
    except* (WebSocketDisconnect, TimeoutError, RuntimeError):
        # The client is gone or stalls: there is nobody left to tell.
        pass


async def _send_all(websocket: WebSocket, events: AsyncIterator[LiveEvent]) -> None:
    async for event in events:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await websocket.send_text(event.data.decode())
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await websocket.close(1001, "the server is stopping")


async def _watch_for_goodbye(websocket: WebSocket, sending: asyncio.Task[None]) -> None:
    """What a client says is not for us; that it leaves is."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    sending.cancel()
