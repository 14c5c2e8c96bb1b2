"""Series of single readings, in pages that follow the clustered key (`measured_at`, `boot`, `seq`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    or_,
    select,
)

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
    statement = _points(connection.dialect.name, model.readings, after is not None, more)
    bounds = {**_bounds(device_ref, window, after), **(_named("last", last) if last and more else {})}
    text: str = connection.execute(statement, bounds).scalar_one()
    return text.encode(), last if more else None


@cache
def _points(dialect_name: str, readings: Table, goes_on: bool, bounded: bool) -> Select[Any]:
    """SELECT of the JSON array; built once, because building costs as much as asking."""
    sql = json_sql(dialect_name)
    rows = _readings(readings, goes_on)
    if bounded:
        rows = rows.where(~_comes_after(readings.c, "last"))
    # The LIMIT keeps SQLite from flattening the subquery, and so its rows in order.
    row = rows.limit(10_000_000).subquery().c
    return select(sql.array(_point(sql, row), *_order(row)))


def raw_rows(
    connection: Connection, model: ReadModel, device_ref: int, window: TimeRange, after: ReadingKey | None, limit: int
) -> Sequence[Row[Any]]:
    """Up to `limit` readings after `after`, by key."""
    statement = _readings(model.readings, after is not None).limit(limit)
    return connection.execute(statement, _bounds(device_ref, window, after)).all()


@cache
def _readings(readings: Table, goes_on: bool) -> Select[Any]:
    """The readings of a range, by key; those after the key `after` if it `goes_on`."""
    columns = readings.c
    query = select(readings).where(
        columns.device_ref == _bind("device_ref"),
        columns.measured_at_ms >= _bind("from_ms"),
        columns.measured_at_ms < _bind("to_ms"),
    )
    if goes_on:
        query = query.where(_comes_after(columns, "after"))
    return query.order_by(*_order(columns))


def _bounds(device_ref: int, window: TimeRange, after: ReadingKey | None) -> dict[str, int]:
    from_ms = window.from_ms if after is None else after.measured_at_ms
    bounds = {"device_ref": device_ref, "from_ms": from_ms, "to_ms": window.to_ms}
    return bounds | (_named("after", after) if after is not None else {})


def _named(name: str, key: ReadingKey) -> dict[str, int]:
    return {f"{name}_{part}": value for part, value in key._asdict().items()}


def _bind(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger())


def _key_at(
    connection: Connection,
    model: ReadModel,
    device_ref: int,
    window: TimeRange,
    after: ReadingKey | None,
    offset: int,
) -> ReadingKey | None:
    bounds = {**_bounds(device_ref, window, after), "offset": offset}
    row = connection.execute(_one_key(model.readings, after is not None), bounds).first()
    return None if row is None else ReadingKey(*row)


@cache
def _one_key(readings: Table, goes_on: bool) -> Select[Any]:
    keys = _readings(readings, goes_on).with_only_columns(*_order(readings.c))
    return keys.limit(1).offset(bindparam("offset", type_=Integer()))


def _order(columns: Any) -> tuple[Any, Any, Any]:
    return columns.measured_at_ms, columns.boot, columns.seq


def _comes_after(columns: Any, name: str) -> ColumnElement[bool]:
    """A row comparison spelt out, because MySQL uses no index range for `(a, b, c) > (x, y, z)`."""
    measured, boot, seq = _order(columns)
    at, key_boot, key_seq = (_bind(f"{name}_{part}") for part in ReadingKey._fields)
    same_instant = or_(boot > key_boot, and_(boot == key_boot, seq > key_seq))
    return or_(measured > at, and_(measured == at, same_instant))


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
