"""A running API for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import create_engine

from api.app import create_app
from api.asyncapi import Brokers
from api.server import serve
from projections.tables import read_model
from tests.contract.api.corner import ApiCorner, MovableClock, instant_ms
from tests.servers import World

NOW_MS = instant_ms("2026-10-26T09:07:30Z")


@pytest.fixture
async def api(world: World) -> AsyncIterator[ApiCorner]:
    """The API of a fleet in Berlin, the day after summer time ended."""
    settings = world.settings
    engine = create_engine(settings.resolved_database_url())
    read_model().metadata.create_all(engine)
    clock, stop = MovableClock(NOW_MS), asyncio.Event()
    app = create_app(
        database_url=settings.resolved_database_url(),
        redis_url=settings.resolved_redis_url(),
        redis_prefix=settings.redis_prefix,
        time_zone="Europe/Berlin",
        offline_after_s=300,
        brokers=Brokers("127.0.0.1:9092", "127.0.0.1:1883"),
        clock=clock,
    )
    base_url = f"http://127.0.0.1:{settings.api_port}"
    async with asyncio.TaskGroup() as group, httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        group.create_task(serve(app, host="127.0.0.1", port=settings.api_port, stop=stop))
        async with Redis.from_url(settings.resolved_redis_url()) as redis:
            await _until_healthy(client)
            yield ApiCorner(client, engine, redis, settings.redis_prefix, clock, base_url)
        stop.set()
    engine.dispose()


async def _until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)
