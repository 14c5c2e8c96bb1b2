"""What a projector, a rebuild and a verification have to know; without Faust, whose import takes 0.4 s of CPU."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


@dataclass(frozen=True)
class ProjectorOptions:
    """What one projector needs to know; both URLs may hold passwords."""

    database_url: str
    redis_url: str
    redis_prefix: str
    time_zone: str
    metrics_port: int
    metrics_host: str = "127.0.0.1"


@asynccontextmanager
async def redis_client(url: str) -> AsyncIterator[Redis]:
    """A client that tells soon when the server is away, instead of trying for long."""
    client = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1))
    try:
        yield client
    finally:
        await client.aclose()
