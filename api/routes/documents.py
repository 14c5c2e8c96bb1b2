"""What describes the API and the events, and the web page: files that never change while the process runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from api.json_schemas import event_schemas
from api.problems import NotFound
from api.schemas import problem_responses
from api.security_headers import PAGE_CONTENT_SECURITY_POLICY
from api.services import JsonBytes

PAGE_FOLDER = Path(__file__).parent.parent / "page"
_PAGE_HEADERS = {"Content-Security-Policy": PAGE_CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def document_routes(asyncapi: Mapping[str, Any]) -> APIRouter:
    """`/asyncapi.json` and `/schemas/{event_type}.json`."""
    router = APIRouter(tags=["documents"])
    document = msgspec.json.encode(asyncapi)
    schemas = {name: msgspec.json.encode(schema) for name, schema in event_schemas().items()}

    @router.get(
        "/asyncapi.json",
        summary="The Kafka topics and MQTT channels, as AsyncAPI 3",
        response_class=JsonBytes,
        responses=problem_responses(429),
    )
    async def get_asyncapi() -> Response:
        return JsonBytes(document)

    @router.get(
        "/schemas",
        summary="The event types that have a schema",
        response_class=JsonBytes,
        responses=problem_responses(429),
    )
    async def list_schemas() -> Response:
        items = [{"event_type": name, "url": f"/schemas/{name}.json"} for name in schemas]
        return JsonBytes(msgspec.json.encode({"items": items}))

    @router.get(
        "/schemas/{event_type}.json",
        summary="The JSON Schema (2020-12) of an event's Kafka value",
        response_class=JsonBytes,
        responses={
            200: {"description": "A schema", "content": {"application/schema+json": {}}},
            **problem_responses(404, 422, 429),
        },
    )
    async def get_schema(event_type: str) -> Response:
        if event_type not in schemas:
            raise NotFound("not-found", f"no event type {event_type[:80]!r}; there are {', '.join(schemas)}")
        return Response(schemas[event_type], media_type="application/schema+json")

    return router


def page_routes() -> APIRouter:
    """`/` (the page), `/docs` and their scripts and styles."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in PAGE_FOLDER.iterdir() if path.is_file()}

    def show(name: str, media_type: str) -> Response:
        return Response(files[name], headers={**_PAGE_HEADERS, "Content-Type": media_type})

    @router.get("/")
    async def get_page() -> Response:
        return show("index.html", "text/html; charset=utf-8")

    @router.get("/docs")
    async def get_docs() -> Response:
        return show("docs.html", "text/html; charset=utf-8")

    @router.get("/page/{name}")
    async def get_file(name: str) -> Response:
        media_type = _MEDIA_TYPES.get(Path(name).suffix)
        if name not in files or media_type is None:
            raise NotFound("not-found", "nothing is at this address")
        return show(name, media_type)

    return router
