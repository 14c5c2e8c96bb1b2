"""`wattaway verify`: are the read models what the log gives? Names the first difference.

The live tables are read in one snapshot, with the positions that stand in it. The log is folded up to exactly there
into a scratch SQLite file by the code that fills the live tables, and both are compared row by row; then Redis.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from domain.clock import Clock, SystemClock
from domain.errors import LogReplaced
from domain.events import LIFECYCLE_TOPIC
from projections.all_rollups import compute_all_rollups
from projections.comparison import Compared, Keep, Side, compare_table, device_ids
from projections.days import day_of
from projections.dialect import execute, snapshot_engine, translated_errors, write_engine
from projections.folded import Place, Row
from projections.latest_views import LatestViews
from projections.lifecycle_audit import LifecycleAudit
from projections.lifecycle_tables import LifecycleTables
from projections.log_audit import LogAudit
from projections.log_consumer import LogSource
from projections.log_reader import LogReader, open_log
from projections.options import ProjectorOptions, redis_client
from projections.positions import Position, begin_positions, check_offsets, check_topic_ids, read_positions
from projections.replaying import Replay
from projections.rollups import HOUR_MS
from projections.schema import check_schema, create_generation
from projections.store import Store
from projections.tables import read_model
from projections.views_check import check_views

_TABLES = (
    "devices",
    "boots",
    "readings",
    "rollups_15m",
    "rollups_1h",
    "rollups_1d",
    "device_reports",
    "dead_letters",
    *LifecycleTables._fields,
)
_GROUP = "verify"


@dataclass
class Verification:
    """What a verification found; `ok` if nothing differs, however far behind the log's end (`lag_records`)."""

    first_difference: str | None = None
    records: int = 0
    readings: int = 0
    doubles: int = 0
    lag_records: int = 0
    tables: list[Compared] = field(default_factory=list)
    dirty_buckets: int = 0
    findings: list[str] = field(default_factory=list)
    views_checked: int = 0

    @property
    def ok(self) -> bool:
        return self.first_difference is None

    def differ(self, difference: str | None) -> None:
        if self.first_difference is None:
            self.first_difference = difference

    def __str__(self) -> str:
        lines = [
            f"{self.records:,} records of the log, {self.readings:,} readings, {self.doubles:,} of them doubles",
            *(
                f"  {one.table:<18} {one.rows:>12,} rows  live {one.live_hash}  log {one.rebuilt_hash}"
                for one in self.tables
            ),
            f"  {self.dirty_buckets:,} buckets wait to be recomputed and were left out of the rollups",
            f"  {self.views_checked:,} devices compared in Redis",
            *(f"a contradiction in the log: {finding}" for finding in self.findings),
            self._verdict(),
        ]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if not self.ok:
            return f"FIRST DIFFERENCE: {self.first_difference}"
        if not self.lag_records:
            return "the read models are what the log gives"
        return (
            f"the read models are what the log gives as far as they go: {self.lag_records:,} RECORDS BEHIND ITS END, "
            "not projected yet; does a projector run?"
        )


async def verify(source: LogSource, options: ProjectorOptions, *, clock: Clock | None = None) -> Verification:
    """Compare the log with SQL and Redis.

    Raises:
        DependencyUnavailable: one of them does not answer.
        SettingInvalid: the database is not migrated.
    """
    engine = snapshot_engine(options.database_url)
    found = Verification()
    with tempfile.TemporaryDirectory(prefix="wattaway-verify-") as folder:
        scratch = write_engine(f"sqlite:///{Path(folder) / 'scratch.db'}")
        try:
            with translated_errors():
                await asyncio.to_thread(check_schema, engine)
                with engine.connect() as live:
                    await _verify(_Work(source, options, clock or SystemClock(), engine, live, scratch), found)
        finally:
            scratch.dispose()
            engine.dispose()
    return found


@dataclass
class _Work:
    source: LogSource
    options: ProjectorOptions
    clock: Clock
    engine: Engine
    live: Connection
    """Holds the snapshot."""
    scratch: Engine


async def _verify(work: _Work, found: Verification) -> None:
    positions = await asyncio.to_thread(read_positions, work.live, read_model(), work.source.group)
    async with open_log(work.source.bootstrap, work.source.topics) as reader:
        try:
            await _check_same_log(reader, positions, found)
        except LogReplaced as error:
            found.differ(str(error))
            return
        await _fold_log(work, reader, positions, found)
    await asyncio.to_thread(_compare_tables, work, found)
    await asyncio.to_thread(work.live.rollback)
    await _compare_views(work, found)


async def _check_same_log(reader: LogReader, positions: dict[Place, Position], found: Verification) -> None:
    starts, ends = await reader.starts(), await reader.ends()
    check_topic_ids(positions, reader.topic_ids, starts)
    check_offsets(positions, {place: at for place, at in starts.items() if place in positions}, ends)
    found.lag_records = sum(
        end - positions[place].next_offset if place in positions else end for place, end in ends.items()
    )


async def _fold_log(work: _Work, reader: LogReader, positions: dict[Place, Position], found: Verification) -> None:
    starts = {place: at for place, at in (await reader.starts()).items() if place in positions}

    def prepare() -> dict[Place, Position]:
        with work.scratch.begin() as connection:
            create_generation(connection, read_model(), work.clock.now_ms())
            begin_positions(connection, read_model(), _GROUP, starts, reader.topic_ids)
            return read_positions(connection, read_model(), _GROUP)

    begun = await asyncio.to_thread(prepare)
    lifecycle = LifecycleAudit(work.source.prefix + LIFECYCLE_TOPIC, read_model())
    audit = LogAudit(work.scratch, read_model(), lifecycle)
    store = Store(work.scratch, read_model(), _GROUP, work.clock, mark_dirty=False)
    replay = Replay(reader, store, begun, prefix=work.source.prefix, before_batch=audit.look_ahead, on_batch=audit.look)
    await replay.advance({place: positions[place].next_offset for place in starts})
    await asyncio.to_thread(audit.find_reused_ids)
    found.records, found.readings, found.doubles = replay.records, audit.readings, audit.doubles
    found.findings = [*audit.findings, *lifecycle.findings]
    found.differ(audit.disorder and f"order in the log: {audit.disorder}")


def _compare_tables(work: _Work, found: Verification) -> None:
    zone = ZoneInfo(work.options.time_zone)
    compute_all_rollups(work.scratch, read_model(), zone)
    with work.scratch.begin() as connection:
        live, rebuilt = Side(work.live, read_model()), Side(connection, read_model())
        names = device_ids(live, rebuilt)
        stale = _stale_quarters(live, rebuilt, found)
        for table in _TABLES:
            compared = compare_table(table, live, rebuilt, names, _keep(table, stale, zone))
            found.tables.append(compared)
            found.differ(compared.difference and str(compared.difference))


def _stale_quarters(live: Side, rebuilt: Side, found: Verification) -> set[tuple[int, int]]:
    """Buckets whose rollups may be old: those marked dirty, and the next with a counter (its step may begin there)."""
    dirty = [(row[0], row[1]) for row in live.rows("dirty_buckets", None)]
    found.dirty_buckets = len(dirty)
    stale = set(dirty)
    for device_ref, at_ms in dirty:
        following = execute(
            rebuilt.connection,
            f"SELECT MIN(bucket_at_ms) FROM {rebuilt.model.rollups_15m.name} "
            f"WHERE device_ref = {device_ref} AND bucket_at_ms > {at_ms} AND energy_mwh IS NOT NULL",
        ).scalar()
        if following is not None:
            stale.add((device_ref, following))
    return stale


def _keep(table: str, stale: set[tuple[int, int]], zone: ZoneInfo) -> Keep | None:
    if table == "rollups_15m":
        left_out = stale
    elif table == "rollups_1h":
        left_out = {(device_ref, at_ms - at_ms % HOUR_MS) for device_ref, at_ms in stale}
    elif table == "rollups_1d":
        left_out = {(device_ref, day_of(at_ms, zone)[0]) for device_ref, at_ms in stale}
    else:
        return None

    def keep(row: Row) -> bool:
        return (row[0], row[1]) not in left_out

    return keep if left_out else None


async def _compare_views(work: _Work, found: Verification) -> None:
    async with redis_client(work.options.redis_url) as client:
        views = LatestViews(client, work.options.redis_prefix)
        result = await check_views(views, work.scratch, work.engine, read_model())
    found.views_checked = result.devices
    found.differ(result.difference)
