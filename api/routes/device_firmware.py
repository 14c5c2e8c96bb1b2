"""Firmware as a socket asks for it, with its own token. Source: docs/protocol.md, "Updates"."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from api import examples_firmware as examples
from api.asking import Asker
from api.firmware import offer_document
from api.firmware_images import OCTETS, ImageCache, image_answer
from api.routes.device_itself import device_asking
from api.routes.firmware import BoardName
from api.schemas import json_answer, problem_responses
from api.schemas_firmware import FirmwareOffer
from api.services import API_PREFIX, JsonBytes, Services
from domain.errors import Missing
from domain.firmware_image import MOST_BOARD_NAME, MOST_COUNTER
from domain.lifecycle.firmware import DeviceFacts, choose_release

_BYTES: dict[str, Any] = {OCTETS: {"schema": {"type": "string", "format": "binary"}, "example": "WAFW…"}}
_IMAGE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image; its ETag is its SHA-256", "content": _BYTES},
    206: {"description": "The part that `Range` asks for, unless `If-Range` names another image", "content": _BYTES},
    304: {"description": "The client has it (`If-None-Match`)"},
    **problem_responses(401, 403, 404, 416, 422, 429, 503),
}


def device_firmware_routes(services: Services) -> APIRouter:
    """`/device/firmware`."""
    router = APIRouter(prefix=API_PREFIX, tags=["device"])
    deciding = services.deciding
    images = ImageCache(deciding.firmware.images)

    @router.get(
        "/device/firmware",
        summary="Newer firmware for the socket that asks, if there is any",
        response_class=JsonBytes,
        responses={
            200: json_answer(FirmwareOffer, examples.OFFER),
            204: {"description": "Nothing newer"},
            **problem_responses(401, 403, 422, 429, 503),
        },
    )
    async def get_offer(
        request: Request,
        asker: Asker,
        board: Annotated[str, Query(max_length=MOST_BOARD_NAME, pattern=BoardName, examples=["uart-cse7766"])],
        counter: Annotated[int, Query(ge=0, le=MOST_COUNTER, description="Of the release that it runs.")],
    ) -> Response:
        facts = DeviceFacts(await device_asking(deciding, request, asker), board, counter)
        release = choose_release(deciding.releases.of_board(board), facts)
        if release is None:
            return Response(status_code=204)
        return JsonBytes(msgspec.json.encode(offer_document(release)))

    @router.head(
        "/device/firmware/images/{sha256}",
        summary="How long a firmware image is",
        response_class=Response,
        responses={200: {"description": "As the answer to GET, without the bytes"}, **_no_part(_IMAGE_ANSWERS)},
    )
    @router.get(
        "/device/firmware/images/{sha256}",
        summary="A firmware image, or a part of it (`Range`, one part)",
        response_class=Response,
        responses=_IMAGE_ANSWERS,
    )
    async def get_image(
        request: Request, asker: Asker, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
    ) -> Response:
        await device_asking(deciding, request, asker)
        known = deciding.releases.by_sha256(sha256)
        content = None if known is None else await deciding.look(partial(images.find, sha256))
        if content is None:
            raise Missing("unknown-image", "no such firmware, or it was withdrawn")
        return image_answer(request, sha256, content)

    return router


def _no_part(answers: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    return {status: answer for status, answer in answers.items() if status not in (200, 206, 416)}
