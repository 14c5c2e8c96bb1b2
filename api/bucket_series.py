"""Series of buckets that are always right: clean ones from the rollup tables, stale ones from the readings.

A bucket is stale while it stands in the dirty set (the open one does), and also while the one before it does, because
its first step of energy begins there. Order matters, because each statement sees the newest commit: the dirty set is
read before the rollups, so a bucket recomputed in between is at worst computed twice, never missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    func,
    select,
    union_all,
)

from api.buckets import (
    QUARTER_MS,
    Bucket,
    BucketPoint,
    Resolution,
    add_up,
    bucket_ends_ms,
    bucket_starts_ms,
    to_point,
)
from api.sql_json import json_sql
from api.time_ranges import TimeRange
from projections.rollups import bucket_rows
from projections.tables import ReadModel

_decode_points = msgspec.json.Decoder(list[BucketPoint]).decode
_encode = msgspec.json.Encoder().encode
_REF, _FROM, _TO = (bindparam(name, type_=BigInteger()) for name in ("device_ref", "from_ms", "to_ms"))


def bucket_points(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, resolution: Resolution, zone: ZoneInfo
) -> bytes:
    """The JSON array of all buckets in `window` (which begins and ends between buckets), by time."""
    fresh = _fresh_buckets(connection, model, device_ref, window, resolution, zone)
    statement = _clean_points(connection.dialect.name, _table(model, resolution))
    text: str = connection.execute(statement, _bounds(device_ref, window)).scalar_one()
    clean = text.encode()
    if not fresh:
        return clean
    points = {point.at: point for point in _decode_points(clean)}
    points.update((point.at, point) for point in map(to_point, fresh))
    return _encode([points[at] for at in sorted(points)])


def buckets_between(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, resolution: Resolution, zone: ZoneInfo
) -> list[Bucket]:
    """The same buckets as exact integers, by time."""
    fresh = _fresh_buckets(connection, model, device_ref, window, resolution, zone)
    buckets = {row.bucket_at_ms: row for row in _clean_buckets(connection, model, device_ref, window, resolution)}
    buckets.update((bucket.bucket_at_ms, bucket) for bucket in fresh)
    return [buckets[at_ms] for at_ms in sorted(buckets)]


def quarters_with_readings(connection: Connection, model: ReadModel, device_ref: int, window: TimeRange) -> list[int]:
    """The 15-minute buckets in `window` that hold a reading, by time."""
    stale = _stale_quarters(connection, model, device_ref, window)
    table = model.rollups_15m
    clean = select(table.c.bucket_at_ms).where(table.c.device_ref == _REF, _inside(table))
    return sorted({*stale, *connection.execute(clean, _bounds(device_ref, window)).scalars()})


def _table(model: ReadModel, resolution: Resolution) -> Table:
    tables = {
        Resolution.QUARTER: model.rollups_15m,
        Resolution.HOUR: model.rollups_1h,
        Resolution.DAY: model.rollups_1d,
    }
    return tables[resolution]


@cache
def _rows_of(table: Table) -> Select[Any]:
    columns = [table.c[name] for name in Bucket._fields]
    return select(*columns).where(table.c.device_ref == _REF, _inside(table)).order_by(table.c.bucket_at_ms)


def _inside(table: Table) -> ColumnElement[bool]:
    return and_(table.c.bucket_at_ms >= _FROM, table.c.bucket_at_ms < _TO)


def _bounds(device_ref: int, window: TimeRange) -> dict[str, int]:
    return {"device_ref": device_ref, "from_ms": window.from_ms, "to_ms": window.to_ms}


def _clean_buckets(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, resolution: Resolution
) -> list[Bucket]:
    rows = connection.execute(_rows_of(_table(model, resolution)), _bounds(device_ref, window))
    return [_to_bucket(row) for row in rows]


def _to_bucket(row: Any) -> Bucket:
    values = (getattr(row, name) for name in Bucket._fields)
    # MySQL's sums are DECIMAL.
    return Bucket(*(None if value is None else int(value) for value in values))  # type: ignore[arg-type]


@cache
def _clean_points(dialect_name: str, table: Table) -> Select[Any]:
    """SELECT of the JSON array; built once, because building costs as much as asking."""
    sql = json_sql(dialect_name)
    # The LIMIT keeps SQLite from flattening the subquery, and so its rows in order.
    row = _rows_of(table).limit(10_000_000).subquery().c
    point = sql.json_object(
        at=sql.instant(row.bucket_at_ms),
        power_mean_w=sql.thousandth(sql.mean(row.power_mw_sum, row.readings)),
        power_min_w=sql.thousandth(row.power_mw_min),
        power_max_w=sql.thousandth(row.power_mw_max),
        energy_wh=sql.thousandth(row.energy_mwh),
        readings=row.readings,
    )
    return select(sql.array(point, row.bucket_at_ms))


# --- stale buckets --------------------------------------------------------------------------------------


def _fresh_buckets(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, resolution: Resolution, zone: ZoneInfo
) -> list[Bucket]:
    """Every bucket of which the rollup table cannot be trusted, computed from the readings."""
    stale = _stale_quarters(connection, model, device_ref, window)
    if not stale:
        return []
    if resolution is Resolution.QUARTER:
        return _computed(connection, model, device_ref, stale)
    quarters: dict[int, Bucket] = {}
    wide = sorted({bucket_starts_ms(at_ms, resolution, zone) for at_ms in stale})
    for starts_ms in wide:
        part = TimeRange(starts_ms, bucket_ends_ms(starts_ms, resolution, zone))
        clean = _clean_buckets(connection, model, device_ref, part, Resolution.QUARTER)
        quarters.update((quarter.bucket_at_ms, quarter) for quarter in clean)
    quarters.update((q.bucket_at_ms, q) for q in _computed(connection, model, device_ref, stale))
    return add_up(quarters.values(), resolution, zone)


def _stale_quarters(connection: Connection, model: ReadModel, device_ref: int, window: TimeRange) -> list[int]:
    """The stale 15-minute buckets in `window`, by time."""
    stale = set(connection.execute(_marks(model.dirty_buckets), _bounds(device_ref, window)).scalars()) - {None}
    for _, ends_ms in _spans(sorted(stale)):
        after = _next_counter(connection, model, device_ref, TimeRange(ends_ms, window.to_ms))
        if after is not None:
            stale.add(_quarter(after))
    return sorted(at_ms for at_ms in stale if window.from_ms <= at_ms < window.to_ms)


@cache
def _marks(dirty: Table) -> CompoundSelect[Any]:
    """The dirty buckets inside the window, and the last one before it."""
    inside = select(dirty.c.bucket_at_ms).where(dirty.c.device_ref == _REF, _inside(dirty))
    last_before = select(func.max(dirty.c.bucket_at_ms)).where(dirty.c.device_ref == _REF, dirty.c.bucket_at_ms < _FROM)
    return union_all(inside, last_before)


def _next_counter(connection: Connection, model: ReadModel, device_ref: int, within: TimeRange) -> int | None:
    """When the first reading with an energy counter in `within` was measured."""
    return connection.execute(_first_counter(model.readings), _bounds(device_ref, within)).scalar()


@cache
def _first_counter(readings: Table) -> Select[Any]:
    columns = readings.c
    within = and_(columns.measured_at_ms >= _FROM, columns.measured_at_ms < _TO)
    query = select(columns.measured_at_ms).where(columns.device_ref == _REF, within, columns.energy_mwh.is_not(None))
    return query.order_by(columns.measured_at_ms).limit(1)


def _computed(connection: Connection, model: ReadModel, device_ref: int, stale: Sequence[int]) -> list[Bucket]:
    return [
        _to_bucket(row)
        for from_ms, to_ms in _spans(stale)
        for row in bucket_rows(connection, model, device_ref, from_ms, to_ms)
    ]


def _spans(quarters: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring 15-minute buckets joined, as (from, to) in ms."""
    spans: list[tuple[int, int]] = []
    for at_ms in quarters:
        if spans and spans[-1][1] == at_ms:
            spans[-1] = (spans[-1][0], at_ms + QUARTER_MS)
        else:
            spans.append((at_ms, at_ms + QUARTER_MS))
    return spans


def _quarter(at_ms: int) -> int:
    return at_ms - at_ms % QUARTER_MS
