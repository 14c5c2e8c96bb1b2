"""The API's Prometheus families, and the page that joins them with the bridge's and the projector's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SOURCE_TIMEOUT_S = 1.0

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
REQUESTS = Counter("wattaway_api_requests", "Requests answered.", ["route", "method", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "wattaway_api_request_seconds",
    "From the request's head to the answer's last byte.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
LATEST_SOURCE = Counter(
    "wattaway_api_latest_answers", "Where latest readings came from.", ["source"], registry=REGISTRY
)
LIVE_CLIENTS = Gauge("wattaway_api_live_clients", "Clients on the live feed.", ["transport"], registry=REGISTRY)
LIVE_ITEMS = Counter("wattaway_api_live_items", "Items taken from the live channel.", ["kind"], registry=REGISTRY)
LIVE_MISSED = Counter("wattaway_api_live_missed", "Items that slow live clients missed.", registry=REGISTRY)
DENIALS = Counter(
    "wattaway_api_denied_attempts", "Denied attempts, by what became of the note.", ["note"], registry=REGISTRY
)
SOURCE_UP = Gauge(
    "wattaway_api_metrics_source_up", "1 if the role's metrics could be fetched.", ["source"], registry=REGISTRY
)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_STREAMS = frozenset({"/api/v1/live", "/api/v1/live/events"})


class MeasureRequests:
    """Count and time every HTTP request by its route, not by its path: paths hold device ids without end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started_at = time.perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            REQUESTS.labels(route, method, str(status)).inc()
            if route not in _STREAMS:
                REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started_at)


async def joined_metrics(sources: Mapping[str, str]) -> bytes:
    """Our families, then those of every source that answers.

    Args:
        sources: role name → the URL of its Prometheus page.
    """
    pages = await asyncio.gather(*(asyncio.to_thread(_fetch, url) for url in sources.values()))
    for name, page in zip(sources, pages, strict=True):
        SOURCE_UP.labels(name).set(page is not None)
    return b"".join([generate_latest(REGISTRY), *(page for page in pages if page is not None)])


def _fetch(url: str) -> bytes | None:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=SOURCE_TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        page = answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return page if answer.status == 200 else None
