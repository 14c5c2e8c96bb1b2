"""The FastAPI application, built from plain arguments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.middleware.cors import CORSMiddleware

from api.asking import Recognition
from api.asyncapi import Brokers, asyncapi_document
from api.body_limits import LimitBodies
from api.database import Database, ping
from api.deciding import Application, Deciding
from api.live import LiveFeed
from api.lockout import Lockout
from api.metrics import MeasureRequests
from api.openapi import describe_problems
from api.problems import install_problem_handlers
from api.protection import Protection
from api.rate_limits import LimitRates, RateLimits
from api.routes.account import account_routes
from api.routes.audit import audit_routes
from api.routes.commands import command_routes
from api.routes.dead_letters import dead_letter_routes
from api.routes.device_firmware import device_firmware_routes
from api.routes.device_itself import device_itself_routes
from api.routes.devices import device_routes
from api.routes.documents import document_routes, page_routes
from api.routes.firmware import firmware_routes
from api.routes.fleet import fleet_routes
from api.routes.invitations import invitation_routes
from api.routes.live import live_routes
from api.routes.registration import registration_routes
from api.routes.series import series_routes
from api.routes.service import service_routes
from api.routes.sessions import session_routes
from api.routes.sign_up import sign_up_routes
from api.routes.site import site_routes
from api.routes.sockets import socket_routes
from api.routes.tenants import tenant_routes
from api.security_headers import SecureAnswers
from api.services import Probe, Services
from api.sessions import Sessions
from api.views import REDIS_TIMEOUT_S, LatestReadings, RedisViews
from bridges.event_hints import hint_channel, listen_for_hints
from domain.clock import Clock, SystemClock

_CATCH_UP_WITHIN_S = 30.0
_DESCRIPTION = """
Live and historic readings of smart sockets. Instants are RFC 3339 in UTC, units are in the names (W, V, A, Wh, °C).
Every error is an RFC 9457 problem document. Events are described at `/asyncapi.json`.
"""


def create_app(
    *,
    database_url: str,
    redis_url: str,
    redis_prefix: str,
    application: Application,
    time_zone: str,
    offline_after_s: int,
    brokers: Brokers,
    protection: Protection | None = None,
    metrics_sources: Mapping[str, str] | None = None,
    probes: Mapping[str, Probe] | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """The API, ready to be served; nothing is connected before it starts.

    Args:
        database_url: SQLAlchemy URL of the read models.
        redis_url: `redis://…` or `unix://…`.
        application: what decides about people and sockets.
        time_zone: IANA zone in which a day begins at midnight.
        offline_after_s: a device that said nothing for so long counts as offline.
        brokers: what `/asyncapi.json` says about where events are.
        protection: who gets in and how often anybody may ask.
        metrics_sources: role name → its Prometheus page, joined into `/metrics`.
        probes: further dependencies for `/readyz`.
    """
    places, protection = _Places(database_url, redis_url, redis_prefix), protection or Protection()
    services = _services(places, application, protection, ZoneInfo(time_zone), offline_after_s, clock or SystemClock())
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
    _add_middleware(app, services, protection)
    install_problem_handlers(app)
    describe_problems(app)
    for routes in _ROUTES:
        app.include_router(routes(services))
    app.include_router(sign_up_routes(services, protection))
    app.include_router(document_routes(asyncapi_document(brokers, version=released)))
    app.include_router(page_routes())
    return app


def _add_middleware(app: FastAPI, services: Services, protection: Protection) -> None:
    """The last one added meets a request first."""
    app.add_middleware(LimitRates, limits=services.rate_limits)
    app.add_middleware(LimitBodies)
    if protection.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=protection.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Correlation-Id"],
            expose_headers=["RateLimit", "RateLimit-Policy", "Retry-After", "X-Correlation-Id"],
        )
        app.add_middleware(LimitRates, limits=services.rate_limits, preflights=True)
    app.add_middleware(SecureAnswers)
    app.add_middleware(MeasureRequests)


class _Places(NamedTuple):
    database_url: str
    redis_url: str
    redis_prefix: str


def _services(
    places: _Places,
    application: Application,
    protection: Protection,
    zone: ZoneInfo,
    offline_after_s: int,
    clock: Clock,
) -> Services:
    database, prefix = Database(places.database_url), places.redis_prefix
    views = RedisViews(connect_redis(places.redis_url), prefix)
    deciding = Deciding(application, clock, protection.rights_hold_for_s)
    quick = connect_redis(places.redis_url)
    sessions = Sessions(quick, prefix, clock, deciding.access)

    async def probe_database() -> str:
        return await database.ask(ping)

    return Services(
        database=database,
        deciding=deciding,
        sessions=sessions,
        recognition=Recognition(deciding.access, sessions, clock, deciding.follower.next_look, deciding.note_denial),
        rate_limits=RateLimits(quick, prefix, protection.rate_limits),
        lockout=Lockout(quick, prefix, clock),
        hints=partial(
            listen_for_hints,
            places.redis_url,
            hint_channel(prefix),
            deciding.follower.hint,
            topics=deciding.follower.topics,
        ),
        views=views,
        latest=LatestReadings(views, database),
        feed=LiveFeed(connect_redis(places.redis_url), f"{prefix}live", clock),
        clock=clock,
        zone=zone,
        offline_after_s=offline_after_s,
        metrics_sources={},
        probes={"database": probe_database, "event store": deciding.probe, "redis": views.probe},
    )


# Matched in this order: what is asked most comes first.
_ROUTES = (
    device_routes,
    session_routes,
    device_itself_routes,
    device_firmware_routes,
    series_routes,
    fleet_routes,
    dead_letter_routes,
    live_routes,
    service_routes,
    account_routes,
    tenant_routes,
    invitation_routes,
    registration_routes,
    socket_routes,
    command_routes,
    audit_routes,
    site_routes,
    firmware_routes,
)


def connect_redis(url: str) -> Redis:
    """A client that soon gives up and never retries: whoever asks knows a better answer than waiting."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    # Nobody is answered before everything that was decided so far is known.
    await services.deciding.follower.catch_up(within_s=_CATCH_UP_WITHIN_S)
    async with asyncio.TaskGroup() as group:
        work = {
            "live feed": services.feed.run(),
            "live rights": services.feed.watch_rights(services.sessions),
            "event follower": services.deciding.follower.run(),
            "event hints": services.hints(),
            "denied attempts": services.deciding.denials.run(),
        }
        tasks = [group.create_task(running, name=name) for name, running in work.items()]
        yield
        services.feed.close()
        await services.deciding.denials.drain()
        for task in tasks:
            task.cancel()
    await services.deciding.close()
    await services.sessions.disconnect()
    await services.feed.disconnect()
    await services.views.disconnect()
    await services.database.close()
