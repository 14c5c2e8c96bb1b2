"""Computing all rollups of a generation at once, set-wise, in bounded chunks: for a rebuild or a verification.

A chunk is a transaction, because SQLite's one writer waits for it: small devices share one, big ones are cut by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Table

from projections.days import day_of
from projections.dialect import execute, give_way
from projections.rollups import HOUR_MS, MAX_TARGETS, QUARTER_MS, Target, buckets_sql
from projections.tables import ReadModel

# Their temporary table is to fit MariaDB's memory for one (16 MiB); 200,000 in one on disk take 3 times the CPU.
_READINGS_PER_CHUNK = 50_000
_DAY_MS = 86_400_000
FOREVER_MS = 2**62


class _Segment(NamedTuple):
    """Local days of 24 hours with one offset from UTC; or a single day of another length."""

    from_ms: int
    to_ms: int


def compute_all_rollups(engine: Engine, model: ReadModel, zone: ZoneInfo, before_ms: int = FOREVER_MS) -> None:
    """Fill the (empty) rollup tables with all buckets that begin before `before_ms` (which begins one too)."""
    with engine.begin() as connection:
        devices = _devices(connection, model)
    for chunk in _chunks(devices):
        (first_ref, readings), *_ = chunk
        cuts = [0, before_ms] if readings <= _READINGS_PER_CHUNK else _cuts(engine, model, first_ref, before_ms)
        for from_ms, to_ms in pairwise(cuts):
            targets = [Target(device_ref, from_ms, to_ms) for device_ref, _ in chunk]
            with engine.begin() as connection:
                execute(connection, f"INSERT INTO {model.rollups_15m.name} {buckets_sql(model.readings, targets)}")
            give_way(engine)
        with engine.begin() as connection:
            _insert_sums(connection, model, zone, first_ref, chunk[-1][0])
        give_way(engine)


def mark_from(engine: Engine, model: ReadModel, from_ms: int) -> None:
    """Mark the buckets with readings from `from_ms` on as dirty."""
    bucket = f"measured_at_ms - measured_at_ms % {QUARTER_MS}"
    with engine.begin() as connection:
        execute(
            connection,
            f"INSERT INTO {model.dirty_buckets.name} SELECT DISTINCT device_ref, {bucket} "
            f"FROM {model.readings.name} WHERE measured_at_ms >= {from_ms}",
        )


def _devices(connection: Connection, model: ReadModel) -> list[tuple[int, int]]:
    sql = f"SELECT device_ref, COUNT(*) FROM {model.readings.name} GROUP BY device_ref ORDER BY device_ref"
    return [(row[0], row[1]) for row in execute(connection, sql)]


def _chunks(devices: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    chunk: list[tuple[int, int]] = []
    readings = 0
    for device in devices:
        if chunk and (len(chunk) == MAX_TARGETS or readings + device[1] > _READINGS_PER_CHUNK):
            yield chunk
            chunk, readings = [], 0
        chunk.append(device)
        readings += device[1]
    if chunk:
        yield chunk


def _cuts(engine: Engine, model: ReadModel, device_ref: int, before_ms: int) -> list[int]:
    """The bounds of pieces of the device's readings before `before_ms`: of whole buckets, but no more than a chunk."""
    cuts = [0]
    while True:
        with engine.begin() as connection:
            later_ms = execute(
                connection,
                f"SELECT measured_at_ms FROM {model.readings.name} WHERE device_ref = {device_ref} "
                f"AND measured_at_ms >= {cuts[-1]} AND measured_at_ms < {before_ms} "
                f"ORDER BY measured_at_ms LIMIT 1 OFFSET {_READINGS_PER_CHUNK}",
            ).scalar()
        if later_ms is None:
            return [*cuts, before_ms]
        cuts.append(max(later_ms - later_ms % QUARTER_MS, cuts[-1] + QUARTER_MS))


def _insert_sums(connection: Connection, model: ReadModel, zone: ZoneInfo, first_ref: int, last_ref: int) -> None:
    quarters = model.rollups_15m
    within = f"device_ref BETWEEN {first_ref} AND {last_ref}"
    hour = f"bucket_at_ms - bucket_at_ms % {HOUR_MS}"
    _insert_grouped(connection, quarters, model.rollups_1h, hour, within)
    bounds = execute(
        connection, f"SELECT MIN(bucket_at_ms), MAX(bucket_at_ms) FROM {quarters.name} WHERE {within}"
    ).one()
    if bounds[0] is None:
        return
    for segment in day_segments(bounds[0], bounds[1], zone):
        day = f"bucket_at_ms - (bucket_at_ms - {segment.from_ms}) % {_DAY_MS}"
        if segment.to_ms - segment.from_ms < 2 * _DAY_MS:
            day = str(segment.from_ms)
        inside = f"{within} AND bucket_at_ms >= {segment.from_ms} AND bucket_at_ms < {segment.to_ms}"
        _insert_grouped(connection, quarters, model.rollups_1d, day, inside)


def _insert_grouped(connection: Connection, quarters: Table, table: Table, bucket: str, where: str) -> None:
    execute(
        connection,
        f"""INSERT INTO {table.name}
        SELECT device_ref, wide_at_ms, SUM(readings), SUM(power_mw_sum), MIN(power_mw_min), MAX(power_mw_max),
            SUM(energy_mwh), MIN(first_at_ms), MAX(last_at_ms)
        FROM (SELECT {quarters.name}.*, {bucket} AS wide_at_ms FROM {quarters.name} WHERE {where}) AS placed
        GROUP BY device_ref, wide_at_ms""",
    )


def day_segments(from_ms: int, to_ms: int, zone: ZoneInfo) -> list[_Segment]:
    """The local days that hold [from_ms, to_ms], in order; runs of days of 24 hours as one."""
    segments: list[_Segment] = []
    regular = False
    start_ms, end_ms = day_of(from_ms, zone)
    while start_ms <= to_ms:
        if end_ms - start_ms == _DAY_MS and regular:
            segments[-1] = segments[-1]._replace(to_ms=end_ms)
        else:
            segments.append(_Segment(start_ms, end_ms))
        regular = end_ms - start_ms == _DAY_MS
        start_ms, end_ms = day_of(end_ms, zone)
    return segments
