"""How long after its sending a reading can be seen: measured on the live channel, by a subscriber of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from ops.bench.ways import Way


class _Item(msgspec.Struct):
    device_id: str
    boot: str
    seq: int


class _Live(msgspec.Struct):
    type: str
    items: list[msgspec.Raw] = []


_decode_live = msgspec.json.Decoder(_Live).decode
_decode_item = msgspec.json.Decoder(_Item).decode


class LatencyWatch:
    """When the readings of one boot became visible.

    The live channel shows the newest reading of a device in each batch: with it, all of the device's readings before
    it have become visible, and they have waited longer.
    """

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._seen: list[tuple[float, str, int]] = []

    def hear(self, message: bytes, now_s: float) -> None:
        live = _decode_live(message)
        if live.type != "readings":
            return
        for raw in live.items:
            item = _decode_item(raw)
            if item.boot == self._boot:
                self._seen.append((now_s, item.device_id, item.seq))

    def latencies_ms(self, device_ids: Sequence[str], ticks: Sequence[tuple[int, int]]) -> list[float]:
        """From sending to visible, of every reading.

        Args:
            device_ids: the generator's, in its order; each sends one reading in turn.
            ticks: when (ms since 1970) it had sent how many.
        """
        counts, next_seq = [count for _, count in ticks], dict.fromkeys(device_ids, 0)
        turn = {device_id: number for number, device_id in enumerate(device_ids)}
        found: list[float] = []
        for now_s, device_id, newest in self._seen:
            for seq in range(next_seq[device_id], newest + 1):
                sent_at_ms = ticks[bisect_right(counts, seq * len(turn) + turn[device_id])][0]
                found.append(now_s * 1000 - sent_at_ms)
            next_seq[device_id] = max(next_seq[device_id], newest + 1)
        return found


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
