"""The latest readings from Redis, as the bytes that stand there; from SQL whenever Redis may not be complete.

Redis is whole only while its generation marker is there (a FLUSHALL takes it away together with the documents), so
the marker is read in the same round trip. After a failure Redis is left alone for a moment: a server that hangs
must not cost every request its timeout.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.database import Database
from api.metrics import LATEST_SOURCE
from api.queries import latest_documents

REDIS_TIMEOUT_S = 1.0
_REST_AFTER_FAILURE_S = 1.0


class RedisViews:
    """Reads below one key prefix.

    Args:
        prefix: put before every key.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._latest = f"{prefix}latest"
        self._marker = f"{prefix}generation"
        self._resting_until = 0.0

    async def documents(self, device_ids: Sequence[str]) -> list[bytes | None] | None:
        """The document of each device; None if Redis is away or not complete."""
        answers = await self._ask(("GET", self._marker), ("HMGET", self._latest, *device_ids))
        if answers is None or answers[0] is None:
            return None
        documents: list[bytes | None] = answers[1]
        return documents

    async def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is cached under `keys`; None for each that is not, or if Redis is away."""
        answers = await self._ask(("MGET", *(self._prefix + key for key in keys))) if keys else None
        return list(answers[0]) if answers else [None] * len(keys)

    async def cache(self, entries: dict[str, bytes], *, for_s: int) -> None:
        """Remember `entries` for a while; nothing happens if Redis is away."""
        commands = [("SET", self._prefix + key, value, "EX", for_s) for key, value in entries.items()]
        if commands:
            await self._ask(*commands)

    async def probe(self) -> str:
        """Whether the views are complete; raises if Redis is away."""
        marker = await self._redis.get(self._marker)
        return "views are complete" if marker is not None else "views are being rebuilt; answers come from the database"

    async def disconnect(self) -> None:
        await self._redis.aclose()

    async def _ask(self, *commands: tuple[Any, ...]) -> list[Any] | None:
        if time.monotonic() < self._resting_until:
            return None
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError, TimeoutError):
            self._resting_until = time.monotonic() + _REST_AFTER_FAILURE_S
            return None
        return answers


class LatestReadings:
    """The newest reading of devices, from wherever the answer is right."""

    def __init__(self, views: RedisViews, database: Database) -> None:
        self._views = views
        self._database = database

    async def documents(self, device_ids: Sequence[str]) -> list[bytes | None]:
        """The document of each device, None where there is no reading.

        Raises:
            DependencyUnavailable: neither Redis nor the database can answer.
        """
        documents = await self._views.documents(device_ids) if device_ids else []
        if documents is not None:
            LATEST_SOURCE.labels("redis").inc()
            return documents
        LATEST_SOURCE.labels("database").inc()
        found = await self._database.ask(latest_documents, device_ids)
        return [found.get(device_id) for device_id in device_ids]
