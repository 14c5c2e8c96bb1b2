"""A device's readings over time, as JSON pages or as one CSV stream, and its daily statistics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api import examples
from api.asking import Asker
from api.buckets import Resolution
from api.daily import daily_document
from api.negotiation import CSV, JSON, negotiate
from api.routes.parameters import READ_PROBLEMS, CursorQuery, DeviceIdPath, FromQuery, ToQuery
from api.schemas import Daily, Series, json_answer, problem_responses
from api.series import MAX_AUTO_POINTS, MAX_PAGE_POINTS, CsvPart, SeriesQuestion, csv_part, series_page
from api.services import API_PREFIX, JsonBytes, Services
from api.time_ranges import local_day, parse_day_range, parse_range

_FORMATS = {"json": JSON, "csv": CSV}
_ResolutionQuery = Annotated[
    Literal["auto", "raw", "15m", "1h", "1d"],
    Query(description=f"`auto`: the finest of at most {MAX_AUTO_POINTS} points; `1d`: local days."),
]


def series_routes(services: Services) -> APIRouter:
    """`/devices/{id}/readings` and `/devices/{id}/daily`."""
    router = APIRouter(prefix=API_PREFIX, tags=["series"])
    deciding = services.deciding
    series_answer = json_answer(Series, examples.SERIES)
    series_answer["content"][CSV] = {"schema": {"type": "string"}, "example": examples.CSV}

    @router.get(
        "/devices/{device_id}/readings",
        summary="A device's readings over time (the last 24 hours unless asked otherwise)",
        description="Buckets that are open or have just changed are computed from the readings, so every answer is "
        "right. `Accept: text/csv` streams the whole range, without pages.",
        response_class=JsonBytes,
        responses={200: series_answer, **problem_responses(401, 403, 404, 406, 422, 429, 503)},
    )
    async def get_readings(
        request: Request,
        asker: Asker,
        device_id: DeviceIdPath,
        from_: FromQuery = None,
        to: ToQuery = None,
        resolution: _ResolutionQuery = "auto",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_POINTS, description="Points on a page.")] = MAX_AUTO_POINTS,
        cursor: CursorQuery = None,
        format_: Annotated[
            Literal["json", "csv"] | None, Query(alias="format", description="Instead of `Accept`, for links.")
        ] = None,
    ) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        offered = negotiate(request.headers.get("accept")) if format_ is None else _FORMATS[format_]
        asked = parse_range(from_, to, now_ms=services.clock.now_ms())
        wanted = None if resolution == "auto" else Resolution(resolution)
        question = SeriesQuestion(device_id, asked, wanted, services.zone, limit)
        if cursor is not None:
            question = question.going_on(cursor)
        if offered == CSV:
            return await _csv(services, question)
        return JsonBytes(await services.database.ask(series_page, question), headers={"Vary": "Accept"})

    @router.get(
        "/devices/{device_id}/daily",
        summary="Statistics of local days (the last 30 unless asked otherwise)",
        response_class=JsonBytes,
        responses={200: json_answer(Daily, examples.DAILY), **problem_responses(*READ_PROBLEMS)},
    )
    async def get_daily(
        request: Request,
        asker: Asker,
        device_id: DeviceIdPath,
        from_: Annotated[
            str | None,
            Query(alias="from", max_length=20, description="First day: `2026-11-01`, `today` or `-30d`."),
        ] = None,
        to: Annotated[str | None, Query(max_length=20, description="Last day, inclusive; the same forms.")] = None,
    ) -> Response:
        await deciding.allow_device(request, asker, "device.see", device_id)
        today = local_day(services.clock.now_ms(), services.zone)
        first, last = parse_day_range(from_, to, today=today)
        return JsonBytes(await daily_document(services, device_id, first, last))

    return router


async def _csv(services: Services, question: SeriesQuestion) -> Response:
    # The first part comes before the status line, so that its errors are still problem documents.
    first = await services.database.ask(csv_part, question, True)
    headers = {"Content-Disposition": f'attachment; filename="{question.device_id}.csv"', "Vary": "Accept"}
    return StreamingResponse(_parts(services, first), media_type=f"{CSV}; charset=utf-8", headers=headers)


async def _parts(services: Services, part: CsvPart) -> AsyncIterator[str]:
    yield part.text
    while part.rest is not None:
        part = await services.database.ask(csv_part, part.rest, False)
        yield part.text
