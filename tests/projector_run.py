"""A projector in the test's own process, a log for it to read, and looks at what it has made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from domain.events import dead_letter
from projections.app import run_projector
from projections.dialect import write_engine
from projections.log_consumer import LogSource
from projections.options import ProjectorOptions
from projections.schema import migrate
from projections.verify import Verification, verify
from tests.projection_records import T0_MS, poison, presence, reading
from tests.servers import World

Step = Callable[[str], None]


def source_of(world: World, instance: str = "p1") -> LogSource:
    return LogSource(world.settings.kafka_bootstrap, world.settings.kafka_topic_prefix, instance)


def options_of(world: World) -> ProjectorOptions:
    return ProjectorOptions(
        world.settings.resolved_database_url(),
        world.settings.resolved_redis_url(),
        world.settings.redis_prefix,
        "Europe/Berlin",
        0,
    )


@asynccontextmanager
async def running(
    world: World, instance: str = "p1", on_step: Step = lambda _step: None
) -> AsyncIterator[asyncio.Task[None]]:
    """A projector in this process, stopped at the end."""
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    stop = asyncio.Event()
    task = asyncio.create_task(run_projector(source_of(world, instance), options_of(world), stop=stop, on_step=on_step))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await asyncio.wait({task})
    await task


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.05)


async def count(world: World, table: str) -> int:
    def ask() -> int:
        engine = write_engine(world.settings.resolved_database_url())
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar_one())
        finally:
            engine.dispose()

    return await asyncio.to_thread(ask)


async def until_there(world: World, readings: int, within_s: float = 60) -> None:
    async def holds() -> bool:
        return await count(world, "readings") >= readings

    await until(holds, within_s)


async def spoil(world: World, sql: str) -> None:
    def change() -> None:
        engine = write_engine(world.settings.resolved_database_url())
        with engine.begin() as connection:
            assert connection.execute(text(sql)).rowcount >= 1
        engine.dispose()

    await asyncio.to_thread(change)


async def checked(world: World) -> Verification:
    return await verify(source_of(world), options_of(world))


def some_events(world: World, readings: int = 60) -> list[Any]:
    """Readings of three sockets an hour apart, a poison record, reports and a dead letter."""
    events: list[Any] = []
    for seq in range(readings):
        for n in range(3):
            at_ms = T0_MS + seq * 3_600_000
            events.append(
                reading(world.device_id(f"s{n}"), seq, at_ms, energy_wh=seq * 5.0, received_at_ms=T0_MS + seq)
            )
    events.insert(5, poison())
    events.append(presence(world.device_id("s1"), firmware="1.4.0"))
    events.append(dead_letter("schema", "wrong", origin="mqtt:x", raw=b"x", received_at_ms=T0_MS))
    return events
