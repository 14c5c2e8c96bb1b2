"""Keeping the latest views whole: filled from SQL at the start, after a FLUSHALL, an outage of Redis or a rebuild."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Engine

from domain.errors import DependencyUnavailable
from projections.filling import fill_views, read_generation
from projections.latest_views import LatestViews
from projections.metrics import ProjectorMetrics
from projections.projector import Projector
from projections.tables import ReadModel

log = structlog.get_logger()

EVERY_S = 1.0
"""Answers must be whole again within 5 s of a FLUSHALL."""


class ViewsKeeper:
    """Fills the views whenever they have missed something.

    A batch that is committed while they are being filled is shown as well, and the newer wins; so nothing falls
    between what the filling has read and what comes after.
    """

    def __init__(
        self, projector: Projector, engine: Engine, model: ReadModel, views: LatestViews, metrics: ProjectorMetrics
    ) -> None:
        self._projector, self._engine, self._model = projector, engine, model
        self._views, self._metrics = views, metrics
        self._made_up_for = 0
        self._down = False

    async def keep_views(self) -> None:
        """Look after the views until cancelled."""
        while True:
            try:
                await self.fill_if_needed()
                self._down = False
            except DependencyUnavailable as error:
                if not self._down:
                    log.warning("latest views cannot be filled yet", dependency=error.dependency, detail=error.detail)
                self._down = True
            except Exception:
                log.exception("latest views cannot be filled yet")
            await asyncio.sleep(EVERY_S)

    async def fill_if_needed(self) -> bool:
        """Fill the views if they are not whole; whether they are whole now."""
        missed = self._projector.views_missed
        if missed == self._made_up_for and await self._are_whole():
            return True
        if missed != self._made_up_for:
            await self._views.distrust()
        self._projector.shows_batches = True
        if not await fill_views(self._engine, self._model, self._views):
            return False
        self._metrics.fillings.inc()
        log.info("latest views filled")
        self._made_up_for = missed
        return missed == self._projector.views_missed

    async def _are_whole(self) -> bool:
        tables = await asyncio.to_thread(read_generation, self._engine, self._model)
        return await self._views.are_complete() and await self._views.are_of(tables)
