"""`wattaway rebuild`: the whole log folded anew into fresh tables, which then take the live ones' place.

The live projector goes on meanwhile. The swap fences it, and it continues from the positions of the fresh tables. A
rebuild that dies leaves tables named `…_rebuild` behind, which nobody reads; the next one drops them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from domain.clock import Clock, SystemClock
from domain.errors import DependencyUnavailable, PositionFenced, WattAwayError
from projections.all_rollups import compute_all_rollups, mark_from
from projections.dialect import (
    drop_generation,
    give_way,
    snapshot_engine,
    swap_generations,
    translated_errors,
    write_engine,
)
from projections.filling import fill_views
from projections.folded import Place
from projections.latest_views import LatestViews
from projections.log_consumer import LogSource
from projections.log_reader import LogReader, open_log
from projections.options import ProjectorOptions, redis_client
from projections.positions import Position, begin_positions, read_positions, tables_generation
from projections.recompute import GRACE_MS
from projections.replaying import Replay
from projections.rollups import QUARTER_MS
from projections.schema import check_schema, create_generation
from projections.sole_work import sole
from projections.store import Step, Store
from projections.tables import read_model

log = structlog.get_logger()

FRESH = read_model("rebuild")
RETIRED = read_model("retired")
_SMALL_LAG = 5000
_CATCH_UPS = 20
_SWAP_TRIES = 20
_FILL_TRIES = 5


class RebuildRunning(WattAwayError):
    """Another rebuild is at work on this database."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did."""

    records: int
    elapsed_s: float
    replay_s: float
    rollups_s: float
    views_filled: bool

    def __str__(self) -> str:
        rate = self.records / self.elapsed_s if self.elapsed_s else 0
        views = "Redis refreshed" if self.views_filled else "Redis is away: the projector refreshes it later"
        return (
            f"rebuilt from {self.records:,} records in {self.elapsed_s:.1f} s ({rate:,.0f}/s; "
            f"log {self.replay_s:.1f} s, rollups {self.rollups_s:.1f} s); {views}"
        )


async def rebuild(
    source: LogSource,
    options: ProjectorOptions,
    *,
    clock: Clock | None = None,
    on_step: Step = lambda _step: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rebuilt:
    """Replace the read models by what the log gives.

    Raises:
        RebuildRunning: another one has not ended, or has begun since (the database's server has forgotten this one when
            it was started anew); the live tables are as they were.
        DependencyUnavailable: Kafka or SQL; the live tables are as they were.
        SettingInvalid: the database is not migrated.
    """
    engine = write_engine(options.database_url)
    try:
        with translated_errors():
            await asyncio.to_thread(check_schema, engine)
            with sole(engine, "rebuild") as alone:
                if not alone:
                    raise RebuildRunning("another rebuild is at work on this database: wait for it")
                work = _Rebuild(engine, source, options, clock or SystemClock(), on_step, on_progress)
                return await work.run()
    except PositionFenced as error:
        raise RebuildRunning("another rebuild has begun on this database and ended this one: wait for it") from error
    finally:
        engine.dispose()


class _Rebuild:
    def __init__(
        self,
        engine: Engine,
        source: LogSource,
        options: ProjectorOptions,
        clock: Clock,
        on_step: Step,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._engine, self._source, self._options, self._clock = engine, source, options, clock
        self._on_step, self._on_progress = on_step, on_progress
        self._group = source.group
        self._generation = secrets.token_hex(8)

    async def run(self) -> Rebuilt:
        started = time.monotonic()
        await asyncio.to_thread(self._prepare)
        self._on_step("tables made")
        async with open_log(self._source.bootstrap, self._source.topics) as reader:
            replay = await self._replay(reader, await self._begin(reader), mark_dirty=False)
            replayed = time.monotonic()
            self._on_step("log replayed")
            await asyncio.to_thread(self._roll_up, replay.positions)
            rolled_up = time.monotonic()
            self._on_step("rollups computed")
            replay = await self._catch_up(reader, replay)
            await asyncio.to_thread(self._swap, replay.positions)
        self._on_step("swapped")
        filled = await self._refresh_views()
        elapsed_s = time.monotonic() - started
        return Rebuilt(replay.records, elapsed_s, replayed - started, rolled_up - replayed, filled)

    def _prepare(self) -> None:
        with self._engine.begin() as connection:
            drop_generation(connection, FRESH)
            drop_generation(connection, RETIRED)
            create_generation(connection, FRESH, self._clock.now_ms())

    async def _begin(self, reader: LogReader) -> dict[Place, Position]:
        starts = await reader.starts()

        def store() -> dict[Place, Position]:
            with self._engine.begin() as connection:
                begin_positions(connection, FRESH, self._group, starts, reader.topic_ids, self._generation)
                return read_positions(connection, FRESH, self._group)

        return await asyncio.to_thread(store)

    async def _replay(
        self, reader: LogReader, positions: dict[Place, Position], *, mark_dirty: bool, before: int = 0
    ) -> Replay:
        store = Store(self._engine, FRESH, self._group, self._clock, mark_dirty=mark_dirty)
        ends = await reader.ends()
        total = sum(ends.values()) - sum(position.next_offset for position in positions.values()) + before
        replay = Replay(
            reader,
            store,
            positions,
            prefix=self._source.prefix,
            on_batch=lambda _records, _folded: self._after_batch(before + replay.records, total),
        )
        await replay.advance(ends)
        replay.records += before
        return replay

    def _after_batch(self, done: int, total: int) -> None:
        self._on_progress(done, total)
        give_way(self._engine)

    def _check_tables(self, connection: Connection, positions: Mapping[Place, Position]) -> None:
        """Return if the fresh tables are those that this rebuild has filled, up to there.

        Raises:
            PositionFenced: another rebuild has made its own.
        """
        if read_positions(connection, FRESH, self._group) != positions:
            raise PositionFenced("the fresh tables are another rebuild's")

    def _roll_up(self, positions: Mapping[Place, Position]) -> None:
        with self._engine.begin() as connection:
            self._check_tables(connection, positions)
        now_ms = self._clock.now_ms()
        open_from_ms = now_ms - now_ms % QUARTER_MS
        if now_ms - open_from_ms < GRACE_MS:
            open_from_ms -= QUARTER_MS
        zone = ZoneInfo(self._options.time_zone)
        compute_all_rollups(self._engine, FRESH, zone, open_from_ms)
        mark_from(self._engine, FRESH, open_from_ms)

    async def _catch_up(self, reader: LogReader, replay: Replay) -> Replay:
        """Follow the log until the rest is small; the live projector does that rest after the swap."""
        for _ in range(_CATCH_UPS):
            before = replay.records
            replay = await self._replay(reader, replay.positions, mark_dirty=True, before=before)
            if replay.records - before < _SMALL_LAG:
                break
        return replay

    def _swap(self, positions: Mapping[Place, Position]) -> None:
        """Swap the tables in; on MySQL a projector's transaction may hold that up or be broken off by it."""
        for attempt in range(_SWAP_TRIES):
            try:
                with translated_errors(), self._engine.begin() as connection:
                    if tables_generation(connection, read_model()) == self._generation:
                        # The answer to the try before was lost.
                        break
                    self._check_tables(connection, positions)
                    swap_generations(connection, read_model(), FRESH, RETIRED)
                break
            except DependencyUnavailable as error:
                if attempt == _SWAP_TRIES - 1:
                    raise
                log.info("swap tried again", detail=error.detail)
                time.sleep(0.2)
        with self._engine.begin() as connection:
            drop_generation(connection, RETIRED)

    async def _refresh_views(self) -> bool:
        reader = snapshot_engine(self._options.database_url)
        try:
            async with redis_client(self._options.redis_url) as client:
                views = LatestViews(client, self._options.redis_prefix)
                for _ in range(_FILL_TRIES):
                    # A running projector sees that the tables are others, and may fill them at the same time.
                    if await fill_views(reader, read_model(), views) or await views.are_complete():
                        return True
                return False
        except DependencyUnavailable as error:
            if error.dependency != "redis":
                raise
            return False
        finally:
            reader.dispose()
