"""A running API for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import create_engine

from api.app import create_app
from api.asyncapi import Brokers
from api.protection import Protection
from api.server import serve
from domain.firmware_keys import TrustedKey
from ops.application import Application
from projections.tables import read_model
from tests.contract.api.corner import ApiCorner, MovableClock, instant_ms
from tests.contract.api.members import CountingHasher, Members, bearer, cheap_application
from tests.servers import World

NOW_MS = instant_ms("2026-10-26T09:07:30Z")
SET_UP_CODE = "the code of the first set-up"


@pytest.fixture
def protection() -> Protection:
    """Who gets in; a test module may choose otherwise."""
    return Protection(hold_set_up_code=lambda code: nullcontext(code == SET_UP_CODE))


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def firmware_keys() -> Sequence[TrustedKey]:
    """Whose firmware may be published; a test module may choose otherwise."""
    return ()


@pytest.fixture
def application(world: World, hasher: CountingHasher, firmware_keys: Sequence[TrustedKey]) -> Iterator[Application]:
    """What decides about people and sockets in this test."""
    with cheap_application(world.settings, hasher, firmware_keys) as application:
        yield application


@pytest.fixture
async def empty_api(world: World, application: Application, protection: Protection) -> AsyncIterator[ApiCorner]:
    """The API of an installation that nobody has set up; its clients say not who they are."""
    settings = world.settings
    engine = create_engine(settings.resolved_database_url())
    read_model().metadata.create_all(engine)
    clock, stop = MovableClock(NOW_MS), asyncio.Event()
    app = create_app(
        database_url=settings.resolved_database_url(),
        redis_url=settings.resolved_redis_url(),
        redis_prefix=settings.redis_prefix,
        application=application,
        time_zone="Europe/Berlin",
        offline_after_s=300,
        brokers=Brokers("127.0.0.1:9092", "127.0.0.1:1883"),
        protection=protection,
        clock=clock,
    )
    base_url = f"http://127.0.0.1:{settings.api_port}"
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(app, host="127.0.0.1", port=settings.api_port, stop=stop))
        try:
            async with Redis.from_url(settings.resolved_redis_url()) as redis:
                api = ApiCorner(
                    _client(app, base_url),
                    engine,
                    redis,
                    settings.redis_prefix,
                    clock,
                    base_url,
                    Members(application, clock),
                    lambda: _client(app, base_url),
                    app.state.services,
                    app,
                )
                await _until_healthy(api.client)
                yield api
                await api.close()
        finally:
            stop.set()
    engine.dispose()


@pytest.fixture
async def api(empty_api: ApiCorner) -> ApiCorner:
    """The API of a fleet in Berlin, the day after summer time ended; `client` is its owner's program."""
    empty_api.owner = empty_api.members.sign_up("olga")
    empty_api.token = empty_api.members.token_of(empty_api.owner)
    empty_api.client.headers.update(bearer(empty_api.token))
    return empty_api


def _client(app: FastAPI, base_url: str) -> httpx.AsyncClient:
    """A client that asks only once the API knows what the test has decided behind its back."""
    catch_up: Callable[[], Awaitable[None]] = app.state.services.deciding.follower.catch_up

    async def before(_request: httpx.Request) -> None:
        await catch_up()

    return httpx.AsyncClient(base_url=base_url, timeout=30, event_hooks={"request": [before]})


async def _until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)
