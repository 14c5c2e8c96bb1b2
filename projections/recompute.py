"""Recomputing dirty buckets in short transactions, such that a reading that comes meanwhile is never missed.

Why none is missed: a batch moves its position on (and so locks that row) before it reads the clock, and leaves out a
mark only for a bucket that is still open then. A round begins by waiting for all batches under way, so whoever left
out a mark for a bucket that is closed by now has committed before. All others mark, and a mark that comes while the
bucket is recomputed waits for that transaction to end (MySQL: the row's lock; SQLite: one writer), then stands anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Table

from domain.clock import Clock
from projections.days import day_of
from projections.dialect import (
    LONGEST_IDLE_S,
    execute,
    insert_new,
    keys_sql,
    put,
    skip_locked,
    translated_errors,
    wait_for_batches,
)
from projections.rollups import HOUR_MS, MAX_TARGETS, QUARTER_MS, BucketRow, Target, compute_buckets, sums_sql
from projections.sole_work import sole
from projections.tables import ReadModel

GRACE_MS = 10_000
"""How long after its end a bucket is left to the batches that saw it open: more than clocks differ."""
_FROZEN_S = 2 * LONGEST_IDLE_S
"""A projector that stands still for so long loses the work to another: its transaction is over by then, too."""
_CHUNK = MAX_TARGETS
"""Buckets of one transaction, computed by one statement: tens of milliseconds, so that batches are not held up."""

Key = tuple[int, int]


def recompute_closed(
    engine: Engine, model: ReadModel, zone: ZoneInfo, clock: Clock, *, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Recompute the dirty buckets that are closed; how many. 0 at once if another projector is at it.

    Args:
        go_on: asked before each transaction; false ends the round early.
    Raises:
        DependencyUnavailable: the database is out of reach or busy; nothing is lost, the marks stand.
    """
    count = 0
    with translated_errors(), sole(engine, "rollups", frozen_s=_FROZEN_S) as right:
        if right is None:
            return 0
        newest_ms = clock.now_ms() - GRACE_MS - QUARTER_MS
        with engine.begin() as connection:
            wait_for_batches(connection, model.consumer_positions)
        while go_on():
            with engine.begin() as connection:
                if not right.stands(connection):
                    break
                done = _recompute_chunk(connection, model, zone, newest_ms)
            if not done:
                break
            count += done
    return count


def _recompute_chunk(connection: Connection, model: ReadModel, zone: ZoneInfo, newest_ms: int) -> int:
    marks = model.dirty_buckets.name
    found = execute(
        connection,
        f"SELECT device_ref, bucket_at_ms FROM {marks} WHERE bucket_at_ms <= {newest_ms} "
        f"ORDER BY device_ref, bucket_at_ms LIMIT {_CHUNK}{skip_locked(connection)}",
    )
    keys = [(row[0], row[1]) for row in found]
    if keys:
        chosen = f"(device_ref, bucket_at_ms) IN {keys_sql(connection, keys)}"
        execute(connection, f"DELETE FROM {marks} WHERE {chosen}")
        old = execute(
            connection, f"SELECT device_ref, bucket_at_ms, readings FROM {model.rollups_15m.name} WHERE {chosen}"
        )
        counts = {(row[0], row[1]): row[2] for row in old}
        rows = compute_buckets(connection, model, merge_buckets(keys))
        put(connection, model.rollups_15m, rows, replace=True)
        put_sums(connection, model, zone, [row[:2] for row in rows])
        grown = [row for row in rows if counts.get(row[:2]) != row.readings]
        _mark_successors(connection, model, grown, set(keys))
    return len(keys)


def merge_buckets(keys: Sequence[Key]) -> list[Target]:
    """Sorted buckets as ranges, neighbours as one."""
    targets: list[Target] = []
    for device_ref, at_ms in keys:
        if targets and targets[-1].device_ref == device_ref and targets[-1].to_ms == at_ms:
            targets[-1] = targets[-1]._replace(to_ms=at_ms + QUARTER_MS)
        else:
            targets.append(Target(device_ref, at_ms, at_ms + QUARTER_MS))
    return targets


def put_sums(connection: Connection, model: ReadModel, zone: ZoneInfo, keys: Iterable[Key]) -> None:
    """Write the hours and local days that hold these 15-minute buckets anew."""
    hours, days = set(), set()
    for device_ref, at_ms in keys:
        hour_at_ms = at_ms - at_ms % HOUR_MS
        hours.add(Target(device_ref, hour_at_ms, hour_at_ms + HOUR_MS))
        days.add(Target(device_ref, *day_of(at_ms, zone)))
    _put_sums(connection, model, model.rollups_1h, sorted(hours))
    _put_sums(connection, model, model.rollups_1d, sorted(days))


def _put_sums(connection: Connection, model: ReadModel, table: Table, targets: Sequence[Target]) -> None:
    for start in range(0, len(targets), MAX_TARGETS):
        parts = [sums_sql(model.rollups_15m, target) for target in targets[start : start + MAX_TARGETS]]
        rows = execute(connection, " UNION ALL ".join(parts)).all()
        put(connection, table, [tuple(row) for row in rows], replace=True)


def _mark_successors(
    connection: Connection, model: ReadModel, grown: Sequence[BucketRow], recomputed: set[Key]
) -> None:
    """Mark where the next counter stands after each bucket that got more: its step may begin elsewhere now."""
    parts = [
        f"""SELECT * FROM (
            SELECT device_ref, measured_at_ms FROM {model.readings.name}
            WHERE device_ref = {row.device_ref} AND measured_at_ms >= {row.bucket_at_ms + QUARTER_MS}
                AND energy_mwh IS NOT NULL
            ORDER BY measured_at_ms LIMIT 1
        ) AS after_{number}"""
        for number, row in enumerate(grown)
        if row.energy_mwh is not None
    ]
    if not parts:
        return
    found = execute(connection, " UNION ALL ".join(parts))
    next_keys = {(row[0], row[1] - row[1] % QUARTER_MS) for row in found}
    insert_new(connection, model.dirty_buckets, sorted(next_keys - recomputed))
