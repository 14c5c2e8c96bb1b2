"""Filling the latest views from SQL: after a FLUSHALL, an outage, a crash or a rebuild."""

from __future__ import annotations

import asyncio

from sqlalchemy import Engine

from projections.dialect import translated_errors
from projections.latest_views import LatestViews
from projections.newest_rows import DeviceView, device_views
from projections.positions import tables_generation
from projections.tables import ReadModel

_CHUNK = 1000


async def fill_views(engine: Engine, model: ReadModel, views: LatestViews) -> bool:
    """Bring every device's newest reading and presence into the views; false if they were flushed meanwhile.

    What they hold from tables before a rebuild is forgotten.

    Raises:
        DependencyUnavailable: SQL or Redis.
    """
    tables = await asyncio.to_thread(read_generation, engine, model)
    if not await views.are_of(tables):
        await views.clear(tables)
    token = await views.begin_filling()
    after_ref = -1
    while devices := await asyncio.to_thread(_read, engine, model, after_ref):
        await views.fill(devices)
        after_ref = devices[-1].device_ref
    return await views.finish_filling(token)


def read_generation(engine: Engine, model: ReadModel) -> str:
    """The name of the set of tables that is there now."""
    with translated_errors(), engine.begin() as connection:
        return tables_generation(connection, model)


def _read(engine: Engine, model: ReadModel, after_ref: int) -> list[DeviceView]:
    with translated_errors(), engine.begin() as connection:
        return device_views(connection, model, after_ref, _CHUNK)
