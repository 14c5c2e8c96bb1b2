"""Monthly partitions of `readings` on MySQL, made ahead of time; SQLite has none and needs none.

The first partition takes all that is older and the last one all that is newer, so no reading is ever refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from sqlalchemy import Connection, text

from domain.clock import to_instant, to_ms
from projections.dialect import execute, is_mysql
from projections.tables import ReadModel

MONTHS_BACK = 12
MONTHS_AHEAD = 3


def month_starts_ms(now_ms: int, back: int, ahead: int) -> list[int]:
    """The first instants (UTC) of the months from `back` before to `ahead` after that of `now_ms`."""
    now = to_instant(now_ms)
    months = range(now.year * 12 + now.month - 1 - back, now.year * 12 + now.month + ahead)
    return [to_ms(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) for month in months]


def partition_readings(connection: Connection, model: ReadModel, now_ms: int) -> None:
    """Part the (empty) table of readings by month."""
    if not is_mysql(connection):
        return
    starts = month_starts_ms(now_ms, MONTHS_BACK, MONTHS_AHEAD + 1)
    parts = [_partition("p_past", starts[0])]
    parts += [_partition(_name(start), end) for start, end in pairwise(starts)]
    parts.append("PARTITION p_future VALUES LESS THAN MAXVALUE")
    execute(
        connection,
        f"ALTER TABLE {model.readings.name} PARTITION BY RANGE (measured_at_ms) ({', '.join(parts)})",
    )


def add_partitions(connection: Connection, model: ReadModel, now_ms: int) -> list[str]:
    """Make the partitions of the next months that are not there yet; their names.

    Splits `p_future`, which is empty as long as this runs every month.
    """
    if not is_mysql(connection):
        return []
    bounds = _bounds(connection, model)
    if not bounds:
        return []
    newest = max(bounds)
    starts = [start for start in month_starts_ms(now_ms, 0, MONTHS_AHEAD + 1) if start >= newest]
    pairs = list(pairwise(starts))
    if not pairs:
        return []
    if starts[0] > newest:
        pairs.insert(0, (newest, starts[0]))
    parts = [_partition(_name(start), end) for start, end in pairs]
    execute(
        connection,
        f"ALTER TABLE {model.readings.name} REORGANIZE PARTITION p_future INTO "
        f"({', '.join(parts)}, PARTITION p_future VALUES LESS THAN MAXVALUE)",
    )
    return [_name(start) for start, _ in pairs]


def _bounds(connection: Connection, model: ReadModel) -> list[int]:
    query = text(
        "SELECT partition_description FROM information_schema.partitions WHERE table_schema = DATABASE() "
        "AND table_name = :name AND partition_name IS NOT NULL AND partition_description <> 'MAXVALUE'"
    )
    return [int(bound) for bound in connection.execute(query, {"name": model.readings.name}).scalars()]


def _name(start_ms: int) -> str:
    return f"p{to_instant(start_ms):%Y%m}"


def _partition(name: str, before_ms: int) -> str:
    return f"PARTITION {name} VALUES LESS THAN ({before_ms})"
