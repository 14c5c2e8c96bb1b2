"""What the routes share, built once per process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import JSONResponse

from api.asking import Recognition
from api.database import Database
from api.deciding import Deciding
from api.live import LiveFeed
from api.lockout import Lockout
from api.rate_limits import RateLimits
from api.sessions import Sessions
from api.views import LatestReadings, RedisViews
from domain.clock import Clock

API_PREFIX = "/api/v1"
Probe = Callable[[], Awaitable[str]]
"""Says in a few words how a dependency is; raises if it is away."""


@dataclass(frozen=True)
class Services:
    """One of each."""

    database: Database
    deciding: Deciding
    sessions: Sessions
    recognition: Recognition
    rate_limits: RateLimits
    lockout: Lockout
    hints: Callable[[], Coroutine[Any, Any, None]]
    views: RedisViews
    latest: LatestReadings
    feed: LiveFeed
    clock: Clock
    zone: ZoneInfo
    offline_after_s: int
    metrics_sources: dict[str, str]
    probes: dict[str, Probe]


class JsonBytes(JSONResponse):
    """JSON that is already bytes."""

    def render(self, content: bytes) -> bytes:
        return content
