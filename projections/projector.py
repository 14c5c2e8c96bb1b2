"""Applying batches of the log to SQL and then Redis: never lost, never skipped, whatever is away in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from domain.backoff import Backoff
from domain.clock import Clock
from domain.errors import DependencyUnavailable, PositionFenced, SettingInvalid
from projections.folded import FoldedBatch, LogRecord, Place, Presence
from projections.folds import fold_records
from projections.latest_views import LatestViews
from projections.metrics import ProjectorMetrics
from projections.positions import Position
from projections.store import DeviceRefTaken, Step, Store

log = structlog.get_logger()

Records = Mapping[Place, Sequence[LogRecord]]


class Batch(NamedTuple):
    """Records on their way to the read models."""

    tenure: int
    """Of which assignment of partitions they are: they are void once that is over."""
    records: Records
    folded: FoldedBatch


class Projector:
    """Holds the positions of the partitions that were assigned, and applies batches one after the other.

    Args:
        prefix: what stands before every topic's name.
        on_step: called between the steps of a batch; tests make it raise or kill.
    """

    def __init__(
        self,
        store: Store,
        views: LatestViews,
        clock: Clock,
        metrics: ProjectorMetrics,
        *,
        prefix: str = "",
        on_step: Step = lambda _step: None,
    ) -> None:
        self._store, self._views, self._clock, self._metrics = store, views, clock, metrics
        self._prefix, self._on_step = prefix, on_step
        self._refused: frozenset[str] = frozenset()
        self._at_work = asyncio.Lock()
        self._reached: dict[Place, int] = {}
        self.positions: dict[Place, Position] = {}
        self.tenure = 0
        self.views_missed = 1
        """How often Redis may have missed a batch (as before this start); see `keep_views`."""
        self.shows_batches = False

    async def take_over(self, positions: Mapping[Place, Position]) -> None:
        """Go on from these positions; call it after `give_up` and with the positions as SQL has them now."""
        async with self._at_work:
            self._store.forget()
            if any(one.next_offset != self._reached.get(place) for place, one in positions.items()):
                # Another has written up to there, and may have died before it was shown.
                self.views_missed += 1
            self.positions = dict(positions)

    async def give_up(self) -> None:
        """Let the batches under way be void; returns once none is being written."""
        self.tenure += 1
        async with self._at_work:
            self.positions = {}

    def fold(self, records: Records) -> Batch:
        """A batch of the present tenure."""
        return Batch(self.tenure, records, fold_records(records, prefix=self._prefix, refused=self._refused))

    async def project(self, batch: Batch) -> None:
        """Return once the batch is in SQL (and in Redis, or that is marked stale), or void.

        Retries for as long as it takes.

        Raises:
            SettingInvalid: only another setting helps.
        """
        async with self._at_work:
            presences = await self._commit(batch)
            if presences is None:
                return
            await self._show(batch.folded, presences)

    async def _commit(self, batch: Batch) -> dict[str, Presence] | None:
        backoff = Backoff()
        while batch.tenure == self.tenure:
            started = time.perf_counter()
            try:
                presences = await asyncio.to_thread(self._store.commit, batch.folded, self.positions)
            except PositionFenced as error:
                log.warning("batch fenced", detail=str(error), records=batch.folded.records)
                self._metrics.fenced.inc()
                self._void()
            except DeviceRefTaken as error:
                log.error("device ids collide", device_ids=sorted(error.device_ids))
                self._refused |= error.device_ids
                batch = self.fold(batch.records)
            except SettingInvalid:
                raise
            except DependencyUnavailable as error:
                log.warning("batch not written yet", dependency=error.dependency, detail=error.detail)
                self._metrics.retries.labels(error.dependency).inc()
                await asyncio.sleep(backoff.delay_s())
            except Exception:
                log.exception("batch not written yet", records=batch.folded.records)
                await asyncio.sleep(backoff.delay_s())
            else:
                self._committed(batch.folded, time.perf_counter() - started)
                return presences
        return None

    def _void(self) -> None:
        """End the tenure: what is fetched so far starts in the wrong place."""
        self.tenure += 1
        self.views_missed += 1

    def _committed(self, folded: FoldedBatch, elapsed_s: float) -> None:
        for place, offset in folded.next_offsets.items():
            self.positions[place] = self.positions[place]._replace(next_offset=offset)
            self._reached[place] = offset
        self._metrics.commit_seconds.observe(elapsed_s)
        self._metrics.batch_size.observe(folded.records)
        self._metrics.readings.inc(len(folded.readings))
        self._metrics.reports.inc(len(folded.reports))
        self._metrics.dead_letters.inc(len(folded.dead_letters))

    async def _show(self, folded: FoldedBatch, presences: Mapping[str, Presence]) -> None:
        if not self.shows_batches:
            self.views_missed += 1
            return
        try:
            with self._metrics.views_seconds.time():
                await self._views.show(folded.newest, presences)
        except DependencyUnavailable as error:
            log.warning("latest views are behind", dependency=error.dependency, detail=error.detail)
            self._metrics.retries.labels(error.dependency).inc()
            self.views_missed += 1
            self.shows_batches = False
        else:
            self._on_step("views written")
            now_ms = self._clock.now_ms()
            self._metrics.visible_latency.observe(now_ms, [row[4] for row in folded.readings])
            self._metrics.measured_latency.observe(now_ms, [row[1] for row in folded.readings])
