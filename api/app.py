"""The FastAPI application, built from plain arguments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.asyncapi import Brokers, asyncapi_document
from api.database import Database, ping
from api.live import LiveFeed
from api.metrics import MeasureRequests
from api.openapi import describe_problems
from api.problems import install_problem_handlers
from api.routes.dead_letters import dead_letter_routes
from api.routes.devices import device_routes
from api.routes.documents import document_routes, page_routes
from api.routes.fleet import fleet_routes
from api.routes.live import live_routes
from api.routes.series import series_routes
from api.routes.service import service_routes
from api.services import Probe, Services
from api.views import REDIS_TIMEOUT_S, LatestReadings, RedisViews
from domain.clock import Clock, SystemClock

_DESCRIPTION = """
Live and historic readings of smart sockets. Instants are RFC 3339 in UTC, units are in the names (W, V, A, Wh, °C).
Every error is an RFC 9457 problem document. Events are described at `/asyncapi.json`.
"""


def create_app(
    *,
    database_url: str,
    redis_url: str,
    redis_prefix: str,
    time_zone: str,
    offline_after_s: int,
    brokers: Brokers,
    metrics_sources: Mapping[str, str] | None = None,
    probes: Mapping[str, Probe] | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """The read side, ready to be served; nothing is connected before the first request.

    Args:
        database_url: SQLAlchemy URL of the read models.
        redis_url: `redis://…` or `unix://…`.
        time_zone: IANA zone in which a day begins at midnight.
        offline_after_s: a device that said nothing for so long counts as offline.
        brokers: what `/asyncapi.json` says about where events are.
        metrics_sources: role name → its Prometheus page, joined into `/metrics`.
        probes: further dependencies for `/readyz`.
    """
    services = _services(database_url, redis_url, redis_prefix, time_zone, offline_after_s, clock or SystemClock())
    services.metrics_sources.update(metrics_sources or {})
    services.probes.update(probes or {})
    released = version("wattaway")
    app = FastAPI(
        title="WattAway",
        version=released,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.add_middleware(MeasureRequests)
    install_problem_handlers(app)
    describe_problems(app)
    for routes in (device_routes, series_routes, fleet_routes, dead_letter_routes, live_routes, service_routes):
        app.include_router(routes(services))
    app.include_router(document_routes(asyncapi_document(brokers, version=released)))
    app.include_router(page_routes())
    return app


def _services(
    database_url: str, redis_url: str, redis_prefix: str, time_zone: str, offline_after_s: int, clock: Clock
) -> Services:
    database = Database(database_url)
    views = RedisViews(connect_redis(redis_url, timeout_s=REDIS_TIMEOUT_S), redis_prefix)
    feed = LiveFeed(connect_redis(redis_url, timeout_s=None), f"{redis_prefix}live", clock)

    async def probe_database() -> str:
        return await database.ask(ping)

    return Services(
        database=database,
        views=views,
        latest=LatestReadings(views, database),
        feed=feed,
        clock=clock,
        zone=ZoneInfo(time_zone),
        offline_after_s=offline_after_s,
        metrics_sources={},
        probes={"database": probe_database, "redis": views.probe},
    )


def connect_redis(url: str, *, timeout_s: float | None) -> Redis:
    """A client that gives up after `timeout_s` and never retries: whoever asks knows a better answer than waiting."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=timeout_s or 5,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s or 5,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with asyncio.TaskGroup() as group:
        following = group.create_task(services.feed.run(), name="live feed")
        yield
        services.feed.close()
        following.cancel()
    await services.feed.disconnect()
    await services.views.disconnect()
    await services.database.close()
