"""Hints that there are new events, over Redis: they save waiting, and nothing depends on them.

Whoever decides from the log polls it anyway; a hint lost, doubled or late does no harm. So both sides go on without
Redis and say so once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

import structlog
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.backoff import Backoff

log = structlog.get_logger()

_WITHIN_S = 0.25
_PAUSE_S = 2.0
_LISTEN_S = 5.0


def hint_channel(redis_prefix: str) -> str:
    """Where hints are published: the newest notification id, in digits, and the topics of what was written."""
    return f"{redis_prefix}events"


class HintPublisher:
    """Publishes what was written: register it with `EventDatabase.tell`.

    It runs in the thread that has just written; after a failure it holds its peace for some seconds, so that a Redis
    that hangs does not hold up every writer.
    """

    def __init__(self, redis_url: str, channel: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=_WITHIN_S,
            socket_connect_timeout=_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._channel = channel
        self._silent_until_s = 0.0
        self._lost = False

    def __call__(self, newest_id: int, topics: Collection[str]) -> None:
        if time.monotonic() < self._silent_until_s:
            return
        try:
            self._redis.publish(self._channel, " ".join((str(newest_id), *sorted(topics))))
            self._lost = False
        except (RedisError, OSError) as error:
            self._silent_until_s = time.monotonic() + _PAUSE_S
            if not self._lost:
                log.warning("event hints not published", error=str(error)[:200])
            self._lost = True

    def close(self) -> None:
        self._redis.close()


async def listen_for_hints(
    redis_url: str, channel: str, hint: Callable[[int], None], *, topics: Collection[str] = ()
) -> None:
    """Call `hint` with the newest notification id that somebody published, until cancelled, through any outage.

    Args:
        topics: only if one of these was written; empty: always.
    """
    wanted = frozenset(topic.encode() for topic in topics)
    backoff, lost = Backoff(), False
    redis = AsyncRedis.from_url(redis_url, socket_connect_timeout=_LISTEN_S)
    try:
        while True:
            try:
                async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(channel)
                    while True:
                        message = await subscription.get_message(timeout=_LISTEN_S)
                        backoff.reset()
                        lost = False
                        if message is None:
                            continue
                        newest_id, *written = message["data"].split() or (b"",)
                        if newest_id.isdigit() and not (wanted and wanted.isdisjoint(written)):
                            hint(int(newest_id))
            except (RedisError, OSError, TimeoutError) as error:
                if not lost:
                    log.warning("no event hints, polling only", error=str(error)[:200])
                lost = True
            await asyncio.sleep(backoff.delay_s())
    finally:
        await redis.aclose()
