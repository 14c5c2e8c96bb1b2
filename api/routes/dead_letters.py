"""Input that could not be taken: what, why, and its bytes as they came."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from msgspec import Meta
from sqlalchemy import Row
from starlette.responses import Response

from api import examples
from api.asking import Asker
from api.cursors import Ascii, cut_page, decode_cursor, encode_cursor
from api.problems import NotFound
from api.queries import DeadLetterFilter, DeadLetterKey, dead_letter_raw, dead_letter_rows
from api.routes.parameters import CursorQuery, FromQuery, ToQuery
from api.schemas import DeadLetter, Page, json_answer, problem_responses
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import format_instant, parse_instant
from domain.wire import AtMs

_Uint31 = Annotated[int, Meta(ge=0, lt=2**31)]
_Uint63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]


def dead_letter_routes(services: Services) -> APIRouter:
    """`/dead-letters`."""
    router = APIRouter(prefix=API_PREFIX, tags=["dead letters"])
    deciding = services.deciding

    @router.get(
        "/dead-letters",
        summary="Dead letters, newest first",
        response_class=JsonBytes,
        responses={
            200: json_answer(Page[DeadLetter], examples.DEAD_LETTERS),
            **problem_responses(401, 403, 422, 429, 503),
        },
    )
    async def list_dead_letters(
        request: Request,
        asker: Asker,
        device: Annotated[str | None, Query(max_length=64, description="Only from this device.")] = None,
        reason: Annotated[str | None, Query(max_length=64, examples=["clock_ahead"])] = None,
        from_: FromQuery = None,
        to: ToQuery = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        await deciding.allow_site(request, asker, "site.dead_letters")
        now_ms = services.clock.now_ms()
        from_ms = None if from_ is None else parse_instant(from_, name="from", now_ms=now_ms)
        to_ms = None if to is None else parse_instant(to, name="to", now_ms=now_ms)
        before = None if cursor is None else DeadLetterKey(*decode_cursor(cursor, tuple[AtMs, Ascii, _Uint31, _Uint63]))
        wanted = DeadLetterFilter(device, reason, from_ms, to_ms)
        rows = await services.database.ask(dead_letter_rows, wanted, before, limit + 1)
        shown, last = cut_page(rows, limit, DeadLetterKey)
        token = None if last is None else encode_cursor(last)
        return JsonBytes(msgspec.json.encode({"items": [_item(row) for row in shown], "next_cursor": token}))

    @router.get(
        "/dead-letters/{topic}/{partition}/{offset}/raw",
        summary="The bytes of a dead letter, exactly as they came",
        response_class=Response,
        responses={
            200: {"description": "The bytes", "content": {"application/octet-stream": {"example": "{not json"}}},
            **problem_responses(401, 403, 404, 422, 429, 503),
        },
    )
    async def get_raw(
        request: Request,
        asker: Asker,
        topic: Annotated[str, Path(max_length=64)],
        partition: Annotated[int, Path(ge=0, lt=2**31)],
        offset: Annotated[int, Path(ge=0, lt=2**63)],
    ) -> Response:
        await deciding.allow_site(request, asker, "site.dead_letters")
        raw = await services.database.ask(dead_letter_raw, topic, partition, offset)
        if raw is None:
            raise NotFound("not-found", f"no dead letter stands at {topic[:64]}/{partition}/{offset}")
        # Never shown by a browser: the bytes come from whoever sent them.
        headers = {"Content-Disposition": f'attachment; filename="dead-letter-{partition}-{offset}.bin"'}
        return Response(raw, media_type="application/octet-stream", headers=headers)

    return router


def _item(row: Row[Any]) -> dict[str, Any]:
    return {
        "topic": row.log_topic,
        "partition": row.log_partition,
        "offset": row.log_offset,
        "received_at": format_instant(row.received_at_ms),
        "device_id": row.device_id or None,
        "boot": row.boot,
        "seq": row.seq,
        "reason": row.reason,
        "detail": row.detail,
        "origin": row.origin,
        "raw_bytes": row.raw_bytes or 0,
        "raw_url": f"/api/v1/dead-letters/{row.log_topic}/{row.log_partition}/{row.log_offset}/raw",
    }
