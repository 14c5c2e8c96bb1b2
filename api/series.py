"""One page of a device's series: which resolution, which readings or buckets, and where the next page begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from api.bucket_series import bucket_points, buckets_between
from api.buckets import Bucket, Resolution, bucket_ends_ms, finest_bucket, to_point, whole_buckets
from api.cursors import decode_cursor, encode_cursor
from api.problems import no_reading
from api.queries import find_device_ref
from api.raw_series import ReadingKey, has_more_readings, raw_points, raw_rows
from api.time_ranges import TimeRange, format_instant
from domain.wire import MAX_AT_MS, AtMs, Seq
from projections.tables import ReadModel, read_model

MAX_AUTO_POINTS = 1500
MAX_PAGE_POINTS = 5000
_CSV_ROWS = 5000
_LONGEST_DAY_MS = 25 * 3_600_000


Uint32 = Annotated[int, Meta(ge=0, lt=2**32)]


class SeriesCursor(NamedTuple):
    """Where a series goes on: the rest of its range, and for raw readings the last one shown."""

    resolution: Resolution
    from_ms: AtMs
    to_ms: Annotated[int, Meta(ge=0, le=MAX_AT_MS + _LONGEST_DAY_MS)]
    """Where the last bucket ends: that of a local day may do so after the last instant that can be asked for."""
    after: tuple[AtMs, Uint32, Seq] | None


class SeriesQuestion(NamedTuple):
    """What a client wants to see."""

    device_id: str
    asked: TimeRange
    resolution: Resolution | None
    """None: the finest of at most `MAX_AUTO_POINTS` points."""
    zone: ZoneInfo
    limit: int = MAX_AUTO_POINTS
    after: ReadingKey | None = None

    def going_on(self, token: str) -> SeriesQuestion:
        """The same question from where `token` says.

        Raises:
            InvalidInput: not a cursor of a series.
        """
        cursor = decode_cursor(token, SeriesCursor)
        after = None if cursor.after is None else ReadingKey(*cursor.after)
        return self._replace(asked=TimeRange(cursor.from_ms, cursor.to_ms), resolution=cursor.resolution, after=after)


def series_page(connection: Connection, question: SeriesQuestion) -> bytes:
    """The answer's JSON document.

    Raises:
        NotFound: it has not sent a reading yet.
    """
    model = read_model()
    device_ref = _device_ref(connection, model, question.device_id)
    resolution = choose_resolution(connection, model, device_ref, question)
    if resolution is Resolution.RAW:
        points, last = raw_points(connection, model, device_ref, question.asked, question.after, question.limit)
        cursor = None if last is None else SeriesCursor(resolution, *question.asked, after=last)
        return _envelope(question, resolution, question.asked, points, cursor)
    window = whole_buckets(question.asked, resolution, question.zone)
    page_ends_ms = bucket_ends_ms(window.from_ms, resolution, question.zone, count=question.limit)
    page = TimeRange(window.from_ms, min(window.to_ms, page_ends_ms))
    points = bucket_points(connection, model, device_ref, page, resolution, question.zone)
    cursor = SeriesCursor(resolution, page.to_ms, window.to_ms, None) if page.to_ms < window.to_ms else None
    return _envelope(question, resolution, page, points, cursor)


def _device_ref(connection: Connection, model: ReadModel, device_id: str) -> int:
    device_ref = find_device_ref(connection, model, device_id)
    if device_ref is None:
        raise no_reading(device_id)
    return device_ref


def choose_resolution(
    connection: Connection, model: ReadModel, device_ref: int, question: SeriesQuestion
) -> Resolution:
    """The resolution asked for, or the finest that keeps to `MAX_AUTO_POINTS`."""
    if question.resolution is not None:
        return question.resolution
    if not has_more_readings(connection, model, device_ref, question.asked, MAX_AUTO_POINTS):
        return Resolution.RAW
    return finest_bucket(question.asked, max_points=MAX_AUTO_POINTS)


def _envelope(
    question: SeriesQuestion, resolution: Resolution, shown: TimeRange, points: bytes, cursor: SeriesCursor | None
) -> bytes:
    head = {
        "device_id": question.device_id,
        "resolution": resolution,
        "from": format_instant(shown.from_ms),
        "to": format_instant(shown.to_ms),
        "time_zone": question.zone.key,
        "next_cursor": None if cursor is None else encode_cursor(cursor),
        "points": msgspec.Raw(points),
    }
    return msgspec.json.encode(head)


# --- CSV ------------------------------------------------------------------------------------------------

_RAW_HEAD = "at,power_w,voltage_v,current_a,energy_wh,relay,temperature_c,rssi_dbm,boot,seq\r\n"
_BUCKET_HEAD = "at,power_mean_w,power_min_w,power_max_w,energy_wh,readings\r\n"


class CsvPart(NamedTuple):
    """Some lines of a CSV answer, and the question that fetches the next ones."""

    text: str
    rest: SeriesQuestion | None


def csv_part(connection: Connection, question: SeriesQuestion, first: bool) -> CsvPart:
    """The next lines of the whole range as CSV (RFC 4180), a few thousand at a time.

    Raises:
        NotFound: it has not sent a reading yet.
    """
    model = read_model()
    device_ref = _device_ref(connection, model, question.device_id)
    resolution = choose_resolution(connection, model, device_ref, question)
    part = _raw_part if resolution is Resolution.RAW else _bucket_part
    return part(connection, model, device_ref, question._replace(resolution=resolution), first)


def _raw_part(
    connection: Connection, model: ReadModel, device_ref: int, question: SeriesQuestion, first: bool
) -> CsvPart:
    rows = raw_rows(connection, model, device_ref, question.asked, question.after, _CSV_ROWS)
    rest = None
    if len(rows) == _CSV_ROWS:
        rest = question._replace(after=ReadingKey(rows[-1].measured_at_ms, rows[-1].boot, rows[-1].seq))
    return CsvPart((_RAW_HEAD if first else "") + "".join(_raw_lines(rows)), rest)


def _bucket_part(
    connection: Connection, model: ReadModel, device_ref: int, question: SeriesQuestion, first: bool
) -> CsvPart:
    resolution = question.resolution or Resolution.DAY
    window = whole_buckets(question.asked, resolution, question.zone)
    ends_ms = bucket_ends_ms(window.from_ms, resolution, question.zone, count=_CSV_ROWS)
    page = TimeRange(window.from_ms, min(window.to_ms, ends_ms))
    buckets = buckets_between(connection, model, device_ref, page, resolution, question.zone)
    rest = question._replace(asked=TimeRange(page.to_ms, window.to_ms)) if page.to_ms < window.to_ms else None
    return CsvPart((_BUCKET_HEAD if first else "") + "".join(_bucket_lines(buckets)), rest)


def _raw_lines(rows: Sequence[Any]) -> Iterator[str]:
    for row in rows:
        relay = "" if row.relay is None else "true" if row.relay else "false"
        yield (
            f"{format_instant(row.measured_at_ms)},{row.power_mw / 1000},{_unit(row.voltage_mv)},"
            f"{_unit(row.current_ma)},{_unit(row.energy_mwh)},{relay},{_unit(row.temperature_mc)},"
            f"{'' if row.rssi_dbm is None else row.rssi_dbm},{row.boot:08x},{row.seq}\r\n"
        )


def _bucket_lines(buckets: Sequence[Bucket]) -> Iterator[str]:
    for point in map(to_point, buckets):
        energy = "" if point.energy_wh is None else point.energy_wh
        yield (f"{point.at},{point.power_mean_w},{point.power_min_w},{point.power_max_w},{energy},{point.readings}\r\n")


def _unit(thousandths: int | None) -> str:
    return "" if thousandths is None else str(thousandths / 1000)
