"""How long after its sending a reading can be seen: measured on the live channel, by a subscriber of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
from redis.asyncio import Redis

from ops.bench.ways import Way


class _Item(msgspec.Struct):
    boot: str
    measured_at: datetime


class _Live(msgspec.Struct):
    type: str
    items: list[msgspec.Raw] = []


_decode_live = msgspec.json.Decoder(_Live).decode
_decode_item = msgspec.json.Decoder(_Item).decode


class LatencyWatch:
    """Latencies, ms, of the readings of one boot: the generator stamps a reading with the instant it sends it."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self.latencies_ms: list[float] = []

    def hear(self, message: bytes, now_s: float) -> None:
        live = _decode_live(message)
        if live.type != "readings":
            return
        for raw in live.items:
            item = _decode_item(raw)
            if item.boot == self._boot:
                self.latencies_ms.append((now_s - item.measured_at.timestamp()) * 1000)


@asynccontextmanager
async def watched(way: Way, boot: str) -> AsyncIterator[LatencyWatch]:
    """Latencies of what becomes visible while the block runs."""
    watch, settings = LatencyWatch(boot), way.settings
    redis = Redis.from_url(settings.resolved_redis_url())
    channel = redis.pubsub()
    await channel.subscribe(f"{settings.redis_prefix}live")

    async def listen() -> None:
        async for message in channel.listen():
            if message["type"] == "message":
                watch.hear(message["data"], time.time())

    listening = asyncio.create_task(listen())
    try:
        yield watch
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await channel.aclose()  # type: ignore[no-untyped-call]
        await redis.aclose()


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that `percent` of all do not exceed (nearest rank); None if there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
