"""What the routes share, built once per process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from starlette.responses import Response

from api.database import Database
from api.live import LiveFeed
from api.views import LatestReadings, RedisViews
from domain.clock import Clock

Probe = Callable[[], Awaitable[str]]
"""Says in a few words how a dependency is; raises if it is away."""


@dataclass(frozen=True)
class Services:
    """One of each."""

    database: Database
    views: RedisViews
    latest: LatestReadings
    feed: LiveFeed
    clock: Clock
    zone: ZoneInfo
    offline_after_s: int
    metrics_sources: dict[str, str]
    probes: dict[str, Probe]


class JsonBytes(Response):
    """JSON that is already bytes."""

    media_type = "application/json"
