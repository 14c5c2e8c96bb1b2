"""JSON made by the database: the few expressions in which MySQL, MariaDB and SQLite differ.

Rows through Python cost ten times as much as text that the server has built already.
"""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import ColumnElement, String, case, func, literal_column

Number = ColumnElement[Any]
_DIVISION = 8
"""How tightly SQLAlchemy binds `/`, so that it puts brackets where they belong."""


class JsonSql(Protocol):
    """What both dialects offer."""

    def instant(self, at_ms: Number) -> ColumnElement[str]:
        """ms since 1970 as RFC 3339 with milliseconds, like `2026-11-23T17:00:00.000Z`."""

    def thousandth(self, number: Number) -> ColumnElement[float]:
        """A count of mW, mV, mWh … as the nearest double of the whole unit."""

    def mean(self, total: Number, count: Number) -> ColumnElement[int]:
        """The mean of integers, to the nearest integer, halves up (no sum here is negative)."""

    def boolean(self, flag: Number) -> ColumnElement[Any]:
        """1, 0 or NULL as JSON true, false or null."""

    def hexadecimal(self, number: Number) -> ColumnElement[str]:
        """Eight lower-case hex digits."""

    def json_object(self, **members: ColumnElement[Any]) -> ColumnElement[Any]:
        """One JSON object."""

    def array(self, item: ColumnElement[Any], *order: ColumnElement[Any]) -> ColumnElement[str]:
        """The JSON array of `item` over all rows, in `order`; `[]` without rows."""


class SqliteJson:
    """SQLite from 3.38. The rows of an array come in the order of the subquery under it (it has a LIMIT)."""

    def instant(self, at_ms: Number) -> ColumnElement[str]:
        return func.strftime("%Y-%m-%dT%H:%M:%fZ", self.thousandth(at_ms), "unixepoch")

    def thousandth(self, number: Number) -> ColumnElement[float]:
        return number.op("/", precedence=_DIVISION)(literal_column("1000.0"))

    def mean(self, total: Number, count: Number) -> ColumnElement[int]:
        return (2 * total + count).op("/", precedence=_DIVISION)(2 * count)

    def boolean(self, flag: Number) -> ColumnElement[Any]:
        return func.json(case((flag == 1, "true"), (flag == 0, "false")))

    def hexadecimal(self, number: Number) -> ColumnElement[str]:
        return func.printf("%08x", number)

    def json_object(self, **members: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.json_object(*_flatten(members))

    def array(self, item: ColumnElement[Any], *order: ColumnElement[Any]) -> ColumnElement[str]:
        del order
        return func.json_group_array(item, type_=String())


class MysqlJson:
    """MySQL 8 and MariaDB. `GROUP_CONCAT` because MySQL's `JSON_ARRAYAGG` knows no order."""

    def instant(self, at_ms: Number) -> ColumnElement[str]:
        epoch: ColumnElement[Any] = literal_column("TIMESTAMP'1970-01-01 00:00:00'")
        moment = func.timestampadd(literal_column("MICROSECOND"), at_ms * 1000, epoch)
        return func.concat(func.left(func.date_format(moment, "%Y-%m-%dT%H:%i:%s.%f"), 23), "Z")

    def thousandth(self, number: Number) -> ColumnElement[float]:
        # `1000e0` makes it a double; a DECIMAL would print 98.2000.
        return number.op("/", precedence=_DIVISION)(literal_column("1000e0"))

    def mean(self, total: Number, count: Number) -> ColumnElement[int]:
        return (2 * total + count).op("DIV", precedence=_DIVISION)(2 * count)

    def boolean(self, flag: Number) -> ColumnElement[Any]:
        return func.json_extract(case((flag == 1, "true"), (flag == 0, "false")), "$")

    def hexadecimal(self, number: Number) -> ColumnElement[str]:
        return func.lower(func.lpad(func.hex(number), 8, "0"))

    def json_object(self, **members: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.json_object(*_flatten(members))

    def array(self, item: ColumnElement[Any], *order: ColumnElement[Any]) -> ColumnElement[str]:
        joined = func.group_concat(item).aggregate_order_by(*order)
        return func.concat("[", func.coalesce(joined, ""), "]")


def _flatten(members: dict[str, ColumnElement[Any]]) -> list[Any]:
    return [part for name, value in members.items() for part in (literal_column(f"'{name}'"), value)]


def json_sql(dialect_name: str) -> JsonSql:
    """The expressions for a dialect, by SQLAlchemy's name of it."""
    return SqliteJson() if dialect_name == "sqlite" else MysqlJson()
