"""The sockets' firmware as admins manage it: published, listed, withdrawn."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import examples_firmware as examples
from api.asking import Asker
from api.cursors import Ascii, cut_page, decode_cursor, encode_cursor
from api.firmware import release_document, release_row_document
from api.firmware_images import OCTETS
from api.lifecycle_queries import FirmwareKey, firmware_rows
from api.routes.parameters import CHANGE_PROBLEMS, CursorQuery
from api.schemas import Page, json_answer, problem_responses
from api.schemas_firmware import FirmwareRelease
from api.services import API_PREFIX, JsonBytes, Services
from domain.firmware_image import MOST_BOARD_NAME, NAME_PATTERN
from domain.lifecycle.firmware import MOST_COUNTER, MOST_NOTES
from domain.wire import AtMs

_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "description": "What `wattaway firmware sign` has written.",
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}, "example": "WAFW…"}},
    }
}
_WORDS = r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]*$"
BoardName = f"^{NAME_PATTERN}$"
Words = Annotated[str | None, Query(max_length=MOST_NOTES, pattern=_WORDS)]


def firmware_routes(services: Services) -> APIRouter:
    """`/firmware`."""
    router = APIRouter(prefix=API_PREFIX, tags=["firmware"])
    deciding = services.deciding

    @router.post(
        "/firmware",
        summary="Publish a signed firmware image: the sockets of its board may have it from now on",
        description="The image is checked as a socket does. To publish the same one again changes nothing (200).",
        status_code=201,
        response_class=JsonBytes,
        responses={
            200: json_answer(FirmwareRelease, examples.RELEASE),
            201: json_answer(FirmwareRelease, examples.RELEASE),
            **problem_responses(*CHANGE_PROBLEMS),
        },
        openapi_extra=_IMAGE_BODY,
    )
    async def publish_firmware(request: Request, asker: Asker, notes: Words = None) -> Response:
        await deciding.allow_site(request, asker, "site.firmware")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
            raise HTTPException(415, f"send the image as {OCTETS}")
        content, cause = await request.body(), deciding.cause(request, asker)
        published = await deciding.decide(lambda: deciding.firmware.publish(content, notes, cause))
        status = 201 if published.is_new else 200
        return JsonBytes(msgspec.json.encode(release_document(published.release)), status)

    @router.get(
        "/firmware",
        summary="Published firmware, newest first",
        response_class=JsonBytes,
        responses={
            200: json_answer(Page[FirmwareRelease], examples.RELEASES),
            **problem_responses(401, 403, 422, 429, 503),
        },
    )
    async def list_firmware(
        request: Request,
        asker: Asker,
        board: Annotated[str | None, Query(max_length=MOST_BOARD_NAME, pattern=BoardName)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        await deciding.allow_site(request, asker, "site.firmware")
        before = None if cursor is None else FirmwareKey(*decode_cursor(cursor, tuple[AtMs, Ascii]))
        rows = await services.database.ask(firmware_rows, board, before, limit + 1)
        shown, last = cut_page(rows, limit, FirmwareKey)
        items = [release_row_document(row) for row in shown]
        token = None if last is None else encode_cursor(last)
        return JsonBytes(msgspec.json.encode({"items": items, "next_cursor": token}))

    @router.delete(
        "/firmware/{board}/{counter}",
        summary="Withdraw a release: no socket gets it any more; its record stays",
        response_class=JsonBytes,
        responses={
            200: json_answer(FirmwareRelease, examples.WITHDRAWN),
            **problem_responses(401, 403, 404, 409, 422, 429, 503),
        },
    )
    async def withdraw_firmware(
        request: Request,
        asker: Asker,
        board: Annotated[str, Path(max_length=MOST_BOARD_NAME, pattern=BoardName, examples=["uart-cse7766"])],
        counter: Annotated[int, Path(ge=1, le=MOST_COUNTER)],
        reason: Words = None,
    ) -> Response:
        await deciding.allow_site(request, asker, "site.firmware")
        cause = deciding.cause(request, asker)
        release = await deciding.decide(lambda: deciding.firmware.withdraw(board, counter, reason, cause))
        return JsonBytes(msgspec.json.encode(release_document(release)))

    return router
