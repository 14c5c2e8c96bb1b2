"""Series of single readings, in pages that follow the clustered key (`measured_at`, `boot`, `seq`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select

from api.sql_json import JsonSql, json_sql
from api.time_ranges import TimeRange
from projections.tables import ReadModel


class ReadingKey(NamedTuple):
    """Where a reading stands among those of its device."""

    measured_at_ms: int
    boot: int
    seq: int


def has_more_readings(connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, than: int) -> bool:
    """Whether more than `than` readings lie in `window`."""
    return _key_at(connection, model, device_ref, window, None, than) is not None


def raw_points(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, after: ReadingKey | None, limit: int
) -> tuple[bytes, ReadingKey | None]:
    """The JSON array of about `limit` readings after `after`, and the last one's key if more follow.

    The page is bounded by a key, not by a count: a late reading that slips in between the two statements is shown
    in it rather than pushing another one out.
    """
    last = _key_at(connection, model, device_ref, window, after, limit - 1)
    more = last is not None and _key_at(connection, model, device_ref, window, last, 0) is not None
    sql = json_sql(connection.dialect.name)
    rows = _readings(model, device_ref, window, after)
    if last is not None and more:
        rows = rows.where(~_comes_after(model.readings.c, last))
    # The LIMIT keeps SQLite from flattening the subquery, and so its rows in order.
    row = rows.limit(10_000_000).subquery().c
    text = connection.execute(select(sql.array(_point(sql, row), *_order(row)))).scalar_one()
    return text.encode(), last if more else None


def raw_rows(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, after: ReadingKey | None, limit: int
) -> Sequence[Row[Any]]:
    """Up to `limit` readings after `after`, by key."""
    return connection.execute(_readings(model, device_ref, window, after).limit(limit)).all()


def _readings(model: ReadModel, device_ref: int, window: TimeRange, after: ReadingKey | None) -> Select[Any]:
    columns = model.readings.c
    from_ms = window.from_ms if after is None else after.measured_at_ms
    query = select(model.readings).where(
        columns.device_ref == device_ref, columns.measured_at_ms.between(from_ms, window.to_ms - 1)
    )
    if after is not None:
        query = query.where(_comes_after(columns, after))
    return query.order_by(*_order(columns))


def _key_at(
    connection: Connection,
    model: ReadModel,
    device_ref: int,
    window: TimeRange,
    after: ReadingKey | None,
    offset: int,
) -> ReadingKey | None:
    columns = model.readings.c
    query = _readings(model, device_ref, window, after).with_only_columns(*_order(columns))
    row = connection.execute(query.limit(1).offset(offset)).first()
    return None if row is None else ReadingKey(*row)


def _order(columns: Any) -> tuple[Any, Any, Any]:
    return columns.measured_at_ms, columns.boot, columns.seq


def _comes_after(columns: Any, key: ReadingKey) -> ColumnElement[bool]:
    """A row comparison spelt out, because MySQL uses no index range for `(a, b, c) > (x, y, z)`."""
    measured, boot, seq = _order(columns)
    same_instant = or_(boot > key.boot, and_(boot == key.boot, seq > key.seq))
    return or_(measured > key.measured_at_ms, and_(measured == key.measured_at_ms, same_instant))


def _point(sql: JsonSql, row: Any) -> ColumnElement[Any]:
    return sql.json_object(
        at=sql.instant(row.measured_at_ms),
        power_w=sql.thousandth(row.power_mw),
        voltage_v=sql.thousandth(row.voltage_mv),
        current_a=sql.thousandth(row.current_ma),
        energy_wh=sql.thousandth(row.energy_mwh),
        relay=sql.boolean(row.relay),
        temperature_c=sql.thousandth(row.temperature_mc),
        rssi_dbm=row.rssi_dbm,
        boot=sql.hexadecimal(row.boot),
        seq=row.seq,
    )
