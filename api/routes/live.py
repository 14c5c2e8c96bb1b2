"""The live feed over WebSocket and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect

from api.asking import AskerIdentity, Identity, check_own_page, current_identity
from api.live import MAX_CLIENTS_EACH, LiveEvent, LiveFeed
from api.live_viewer import NOTHING_LEFT, SIGNED_OUT, TRY_LATER, LiveViewer
from api.problems import RETRY_AFTER_S, Forbidden, TooMany, Unauthenticated, problem, unavailable
from api.routes.devices import parse_device_ids
from api.schemas import problem_responses
from api.services import API_PREFIX, Services
from domain.errors import Denied, DependencyUnavailable, InvalidInput

SEND_TIMEOUT_S = 30.0
_MAX_DEVICES = 500
_GOING_AWAY = 1001
_REASONS = {
    None: "the server is stopping",
    SIGNED_OUT: "your session or token has ended",
    TRY_LATER: "nobody knows at the moment what you may see",
    NOTHING_LEFT: "you may see none of these devices any more",
}
_SSE_EXAMPLE = (
    'event: readings\nid: 5f0c2a9e-4711\ndata: {"type":"readings","id":"5f0c2a9e-4711","items":[{"device_id":'
    '"kitchen-kettle","boot":"9f3a61c2","seq":17,"measured_at":"2026-11-23T17:00:00.123000Z","received_at":'
    '"2026-11-23T17:00:00.210000Z","power_w":98.2}]}\n\n'
)
_SSE_DESCRIPTION = f"""
Events: `hello` (first), `readings` and `presence` (`items`), `missed` (`count` items were dropped because this client
reads too slowly; null: nobody knows how many, so ask `latest` again), `sight` (you may see other devices than before,
so ask `devices` again), `heartbeat`. The same JSON comes over the WebSocket at `/api/v1/live`, one event a text frame.

Only what you may see at that moment comes. The stream ends within two seconds after your session or token has ended,
or your right to every device in it; a WebSocket is then closed with 4401 or 4403.

You may listen up to {MAX_CLIENTS_EACH} times at once, over both: beyond that, 429. A client that does not read for 30
seconds is let go.

`Last-Event-ID`: the server remembers the last 10,000 items. A client that comes back within those gets what it missed;
one that comes back later, or to another process, gets `missed` with `count` null.
"""
_DeviceQuery = Annotated[
    list[str] | None,
    Query(max_length=_MAX_DEVICES, description="Only these devices; all that you may see if left out."),
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
            **problem_responses(401, 403, 422, 429, 503),
        },
    )
    async def get_events(
        request: Request,
        asker: AskerIdentity,
        device: _DeviceQuery = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        await services.deciding.allow_site(request, asker.principal, "account.see")
        _allow_one_more(services.feed, asker)
        if services.feed.full:
            return _too_many(request)
        viewer = _viewer(services, asker, _wanted(device or []))
        events = services.feed.events(viewer, transport="sse", last_event_id=last_event_id)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(_as_sse(events), media_type="text/event-stream", headers=headers)

    @router.websocket("/live")
    async def serve_websocket(websocket: WebSocket) -> None:
        viewer = await _admitted(services, websocket)
        if isinstance(viewer, Response):
            await websocket.send_denial_response(viewer)
            return
        await websocket.accept()
        last_event_id = websocket.query_params.get("last_event_id")
        events = services.feed.events(viewer, transport="websocket", last_event_id=last_event_id)
        await _serve(websocket, events, viewer)

    return router


def _viewer(services: Services, identity: Identity, wanted: frozenset[str] | None) -> LiveViewer:
    return LiveViewer(services.deciding, services.recognition, identity, wanted)


def _allow_one_more(feed: LiveFeed, identity: Identity) -> None:
    """Return if this user may listen once more.

    Raises:
        TooMany: they listen often enough.
    """
    if feed.has_enough(identity.principal.user_id):
        detail = "you have as many live connections as one may have: close one"
        raise TooMany("too-many-live-connections", detail, 10 * RETRY_AFTER_S, {})


def _too_many(request: Request | WebSocket) -> Response:
    detail = "too many live clients; try again later"
    return problem(request, 503, "too-many-clients", detail, headers={"Retry-After": str(10 * RETRY_AFTER_S)})


async def _admitted(services: Services, websocket: WebSocket) -> LiveViewer | Response:
    """Who listens, or why this client may not connect.

    Browsers let any web page open a WebSocket and send our cookie along, so the page's origin must be ours.
    """
    try:
        check_own_page(websocket)
        identity = await current_identity(websocket)
        await services.deciding.allow_site(websocket, identity.principal, "account.see")
        wanted = _wanted(websocket.query_params.getlist("device"))
        _allow_one_more(services.feed, identity)
    except InvalidInput as error:
        return problem(websocket, 422, "invalid-parameter", error.detail)
    except Unauthenticated as error:
        headers = {"WWW-Authenticate": error.challenge}
        return problem(websocket, 401, error.kind, str(error), headers=headers)
    except (Forbidden, Denied) as error:
        return problem(websocket, 403, error.kind, str(error))
    except TooMany as error:
        return problem(websocket, 429, error.kind, str(error), headers=error.headers)
    except DependencyUnavailable as error:
        return unavailable(websocket, error)
    return _too_many(websocket) if services.feed.full else _viewer(services, identity, wanted)


def _wanted(device: Sequence[str]) -> frozenset[str] | None:
    """The devices that were asked for; None: all that the asker may see.

    Raises:
        InvalidInput: one of them is not a device id, or they are too many.
    """
    if len(device) > _MAX_DEVICES:
        raise InvalidInput("device", f"{len(device)} devices are more than {_MAX_DEVICES}")
    return frozenset(parse_device_ids(device)) or None


async def _as_sse(events: AsyncIterator[LiveEvent]) -> AsyncIterator[bytes]:
    async for event in events:
        head = b"" if event.id is None else b"id: %b\n" % event.id.encode()
        yield b"event: %b\n%bdata: %b\n\n" % (event.name.encode(), head, event.data)


async def _serve(websocket: WebSocket, events: AsyncIterator[LiveEvent], viewer: LiveViewer) -> None:
    """Send until the client leaves, stalls for `SEND_TIMEOUT_S`, may listen no longer, or the server stops."""
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send_all(websocket, events, viewer))
            group.create_task(_watch_for_goodbye(websocket, sending))
    except* (WebSocketDisconnect, TimeoutError, RuntimeError):
        # The client is gone or stalls: there is nobody left to tell.
        pass


async def _send_all(websocket: WebSocket, events: AsyncIterator[LiveEvent], viewer: LiveViewer) -> None:
    async for event in events:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await websocket.send_text(event.data.decode())
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await websocket.close(viewer.close_code or _GOING_AWAY, _REASONS.get(viewer.close_code))


async def _watch_for_goodbye(websocket: WebSocket, sending: asyncio.Task[None]) -> None:
    """What a client says is not for us; that it leaves is."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    sending.cancel()
