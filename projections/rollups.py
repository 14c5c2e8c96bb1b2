"""Buckets of readings, computed by SQL. A bucket is a pure function of the readings.

Energy is the sum of the counter's steps, each from the device's previous reading that has a counter, in whichever
bucket that one lies. A step counts 0 where the counter fell (a reset) or rose by more than a socket can draw in the
time between, so neither a reset nor a gap invents energy, and what was used during a gap stands where it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection, Table

from domain.wire import MAX_POWER_MW
from projections.dialect import execute
from projections.tables import ReadModel

QUARTER_MS = 900_000
HOUR_MS = 3_600_000
_MOST_MWH, _PER_MS = Fraction(MAX_POWER_MW, HOUR_MS).as_integer_ratio()
"""What a socket can draw. In lowest terms: 64 bits then hold the products of any counter and any instant."""
MAX_TARGETS = 200
"""Two SELECTs each; SQLite takes at most 500 in one statement."""


class BucketRow(NamedTuple):
    """A row of a rollup table."""

    device_ref: int
    bucket_at_ms: int
    readings: int
    power_mw_sum: int
    power_mw_min: int
    power_mw_max: int
    energy_mwh: int | None
    first_at_ms: int
    last_at_ms: int


class Target(NamedTuple):
    """Readings of a device in [from_ms, to_ms)."""

    device_ref: int
    from_ms: int
    to_ms: int


def bucket_rows(connection: Connection, model: ReadModel, device_ref: int, from_ms: int, to_ms: int) -> list[BucketRow]:
    """The 15-minute buckets of a device's readings in [from_ms, to_ms), computed from the readings, by time.

    Args:
        from_ms: begins a bucket, or the first one is only counted from there on.
    """
    return compute_buckets(connection, model, [Target(device_ref, from_ms, to_ms)])


def compute_buckets(connection: Connection, model: ReadModel, targets: Sequence[Target]) -> list[BucketRow]:
    """The 15-minute buckets with readings in these (disjoint) ranges, by device and time."""
    found: list[BucketRow] = []
    for start in range(0, len(targets), MAX_TARGETS):
        sql = buckets_sql(model.readings, targets[start : start + MAX_TARGETS])
        # MySQL's sums come as decimals.
        found += [
            BucketRow._make(None if cell is None else int(cell) for cell in row) for row in execute(connection, sql)
        ]
    return found


def buckets_sql(readings: Table, targets: Sequence[Target]) -> str:
    """SELECT of the columns of a rollup table for these ranges.

    Every range is spelled as constants: MySQL finds the rows of a range by the clustered key only if its bounds are
    constants, and drops the partitions that cannot hold them.
    """
    parts = [_readings_sql(readings.name, number, target) for number, target in enumerate(targets)]
    order = "PARTITION BY target, energy_mwh IS NULL ORDER BY measured_at_ms, boot, seq"
    fits = f"(energy_mwh - earlier_mwh) * {_PER_MS} <= {_MOST_MWH} * (measured_at_ms - earlier_at_ms)"
    step = f"CASE WHEN energy_mwh > earlier_mwh AND {fits} THEN energy_mwh - earlier_mwh ELSE 0 END"
    return f"""
        SELECT device_ref, bucket_at_ms, COUNT(*) AS readings, CAST(SUM(power_mw) AS SIGNED) AS power_mw_sum,
            MIN(power_mw) AS power_mw_min, MAX(power_mw) AS power_mw_max,
            CAST(SUM(CASE WHEN energy_mwh IS NULL THEN NULL ELSE {step} END) AS SIGNED) AS energy_mwh,
            MIN(measured_at_ms) AS first_at_ms, MAX(measured_at_ms) AS last_at_ms
        FROM (
            SELECT device_ref, measured_at_ms, measured_at_ms - measured_at_ms % {QUARTER_MS} AS bucket_at_ms,
                power_mw, energy_mwh, inside, LAG(energy_mwh) OVER ({order}) AS earlier_mwh,
                LAG(measured_at_ms) OVER ({order}) AS earlier_at_ms
            FROM ({" UNION ALL ".join(parts)}) AS found
        ) AS stepped
        WHERE inside = 1 GROUP BY device_ref, bucket_at_ms ORDER BY device_ref, bucket_at_ms"""


def _readings_sql(name: str, number: int, target: Target) -> str:
    """The readings in the range, and the last one before it that has a counter (if any in it has)."""
    device_ref, from_ms, to_ms = target
    within = f"device_ref = {device_ref} AND measured_at_ms >= {from_ms} AND measured_at_ms < {to_ms}"
    columns = f"{number} AS target, device_ref, measured_at_ms, boot, seq, power_mw, energy_mwh"
    return f"""
        SELECT {columns}, 1 AS inside FROM {name} WHERE {within}
        UNION ALL SELECT * FROM (
            SELECT {columns}, 0 AS inside FROM {name}
            WHERE device_ref = {device_ref} AND measured_at_ms < {from_ms} AND energy_mwh IS NOT NULL
                AND EXISTS (SELECT 1 FROM {name} WHERE {within} AND energy_mwh IS NOT NULL)
            ORDER BY measured_at_ms DESC, boot DESC, seq DESC LIMIT 1
        ) AS before_{number}"""


def sums_sql(quarters: Table, target: Target) -> str:
    """SELECT of one row of a wider rollup table that begins at `target.from_ms`; no row if there are no readings."""
    device_ref, from_ms, to_ms = target
    return f"""
        SELECT {device_ref}, {from_ms}, CAST(SUM(readings) AS SIGNED), CAST(SUM(power_mw_sum) AS SIGNED),
            MIN(power_mw_min), MAX(power_mw_max), CAST(SUM(energy_mwh) AS SIGNED), MIN(first_at_ms), MAX(last_at_ms)
        FROM {quarters.name}
        WHERE device_ref = {device_ref} AND bucket_at_ms >= {from_ms} AND bucket_at_ms < {to_ms}
        GROUP BY device_ref"""
