"""Who did what, and who was denied: for admins, as pages or as one export."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from api import examples_lifecycle as examples
from api.asking import Asker
from api.audit import AuditReader, csv_lines, ndjson_lines
from api.cursors import Ascii, cut_page, decode_cursor, encode_cursor
from api.lifecycle_queries import AuditFilter, AuditKey, audit_rows
from api.negotiation import CSV, JSON, NDJSON, negotiate
from api.routes.parameters import CursorQuery, FromQuery, ToQuery
from api.schemas import Page, json_answer, problem_responses
from api.schemas_audit import AuditRecord
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import parse_instant
from domain.device_ids import DEVICE_ID_PATTERN
from domain.wire import AtMs

_EXPORT_PAGE = 1000
_Version = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Text = Query(max_length=190)


def audit_routes(services: Services) -> APIRouter:
    """`/audit`."""
    router = APIRouter(prefix=API_PREFIX, tags=["audit"])
    deciding = services.deciding
    reader = AuditReader(deciding.access, deciding.personal)
    answer = json_answer(Page[AuditRecord], examples.AUDIT)
    answer["content"][CSV] = {"schema": {"type": "string"}, "example": examples.AUDIT_CSV}
    answer["content"][NDJSON] = {"schema": {"type": "string"}, "example": '{"id":"…","action":"device-registered"}\n'}

    @router.get(
        "/audit",
        summary="What was decided and what was denied, newest first",
        description="`Accept: text/csv` or `application/x-ndjson` streams all of it, without pages.",
        response_class=JsonBytes,
        responses={200: answer, **problem_responses(401, 403, 406, 422, 429, 503)},
    )
    async def list_audit(
        request: Request,
        asker: Asker,
        from_: FromQuery = None,
        to: ToQuery = None,
        actor: Annotated[str | None, _Text] = None,
        subject: Annotated[str | None, Query(max_length=190, examples=["device:kitchen-kettle"])] = None,
        device: Annotated[str | None, Query(pattern=DEVICE_ID_PATTERN)] = None,
        tenant_id: Annotated[str | None, _Text] = None,
        action: Annotated[str | None, Query(max_length=190, examples=["device-registered"])] = None,
        correlation_id: Annotated[str | None, _Text] = None,
        denied: Annotated[bool | None, Query(description="Only denied attempts, or only what was done.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: CursorQuery = None,
    ) -> Response:
        await deciding.allow_site(request, asker, "site.audit")
        offered = negotiate(request.headers.get("accept"), (JSON, CSV, NDJSON))
        now_ms = services.clock.now_ms()
        kind, colon, subject_id = (subject or "").partition(":")
        wanted = AuditFilter(
            from_ms=None if from_ is None else parse_instant(from_, name="from", now_ms=now_ms),
            to_ms=None if to is None else parse_instant(to, name="to", now_ms=now_ms),
            actor=actor,
            subject_kind=kind if colon else None,
            subject_id=subject_id if colon else subject,
            device_id=device,
            tenant_id=tenant_id,
            action=action,
            correlation_id=correlation_id,
            denied=denied,
        )
        before = None if cursor is None else AuditKey(*decode_cursor(cursor, tuple[AtMs, Ascii, _Version]))
        if offered != JSON:
            return await _export(wanted, before, offered)
        documents, last = await _page(wanted, before, limit)
        token = None if last is None else encode_cursor(last)
        headers = {"Vary": "Accept"}
        return JsonBytes(msgspec.json.encode({"items": documents, "next_cursor": token}), headers=headers)

    async def _page(
        wanted: AuditFilter, before: AuditKey | None, limit: int
    ) -> tuple[Sequence[dict[str, Any]], AuditKey | None]:
        """The next records, and the last one's key if there are more."""
        rows = await services.database.ask(audit_rows, wanted, before, limit + 1)
        shown, last = cut_page(rows, limit, AuditKey)
        documents = await deciding.look(lambda: [reader.document(row) for row in shown])
        return documents, last

    async def _export(wanted: AuditFilter, before: AuditKey | None, media_type: str) -> Response:
        # The first part comes before the status line, so that its errors are still problem documents.
        first = await _page(wanted, before, _EXPORT_PAGE)
        name = "audit.csv" if media_type == CSV else "audit.ndjson"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
        return StreamingResponse(_parts(wanted, first, media_type), headers=headers, media_type=media_type)

    async def _parts(
        wanted: AuditFilter, page: tuple[Sequence[dict[str, Any]], AuditKey | None], media_type: str
    ) -> AsyncIterator[str | bytes]:
        header = True
        while True:
            documents, last = page
            yield csv_lines(documents, header=header) if media_type == CSV else ndjson_lines(documents)
            if last is None:
                return
            header = False
            page = await _page(wanted, last, _EXPORT_PAGE)

    return router
