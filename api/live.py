"""The live feed: one Redis subscriber for the whole process, fanned out to a bounded queue per client.

Events, the same over WebSocket and SSE: `hello` (first), `readings` and `presence` (`items`, the documents of Kafka),
`missed` (`count` items were dropped because this client reads too slowly; `count` null: nobody knows how many, ask
`latest` again), `sight` (the client may see other devices than before: ask `devices` again), `heartbeat` (nothing
happened for a while). A client gets what its user may see at that moment, and is let go once its session or token ends.
An event id is `<process>-<position>`. A client that comes back with the last one gets what the short memory still
holds, or else `missed` with null.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from api.live_queue import LiveMessage, LiveQueue
from api.live_viewer import LiveViewer
from api.metrics import LIVE_CLIENTS, LIVE_ITEMS
from api.sessions import Sessions
from api.time_ranges import format_instant
from domain.clock import Clock
from domain.errors import DependencyUnavailable

HEARTBEAT_S = 15.0
SILENCE_S = 8.0
"""So long Redis may say nothing before it is asked whether it is there, and so long it may take to say so."""
REMEMBERED_ITEMS = 10_000
MAX_CLIENTS = 1000
MAX_CLIENTS_EACH = 50
_RATE_WINDOW_S = 60.0
_LONGEST_BACKOFF_S = 2.0
_CHECK_RIGHTS_S = 0.5
_MOST_COUNTED = 50_000
# No process counts further, and Python refuses to read a number of thousands of digits.
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,19})")

log = structlog.get_logger()


class _Published(msgspec.Struct, gc=False):
    type: str
    items: list[msgspec.Raw]


_decode_published = msgspec.json.Decoder(_Published).decode


class LiveEvent(NamedTuple):
    """One event as both transports send it."""

    name: str
    id: str | None
    data: bytes
    """A JSON object; its `type` repeats the name."""


class LiveFeed:
    """What is projected right now, for any number of clients.

    Args:
        redis: a client of its own.
        channel: where the projector publishes.
    """

    def __init__(self, redis: Redis, channel: str, clock: Clock) -> None:
        self._redis = redis
        self._channel = channel
        self._clock = clock
        self._process = secrets.token_hex(4)
        self._position = 0
        self._memory: deque[LiveMessage] = deque()
        self._remembered_items = 0
        self._queues: dict[LiveQueue, LiveViewer] = {}
        self._rate: deque[tuple[float, list[str]]] = deque()
        self._in_window: Counter[str] = Counter()
        self._watching_since: float | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        return len(self._queues) >= MAX_CLIENTS

    def has_enough(self, user_id: str | None) -> bool:
        """Whether this user, with all sessions and tokens, listens as often as one may."""
        return sum(viewer.user_id == user_id for viewer in self._queues.values()) >= MAX_CLIENTS_EACH

    @property
    def following(self) -> bool:
        """Whether what is projected now arrives here."""
        return self._watching_since is not None

    def readings_per_min(self, device_ids: Sequence[str]) -> float | None:
        """These devices' readings of the last minute; None until the feed was watched for a few seconds."""
        now = time.monotonic()
        self._forget_before(now - _RATE_WINDOW_S)
        watched_s = 0.0 if self._watching_since is None else min(_RATE_WINDOW_S, now - self._watching_since)
        if watched_s < 5:
            return None
        return round(sum(self._in_window[device_id] for device_id in device_ids) * 60 / watched_s, 1)

    async def run(self) -> None:
        """Follow the channel until cancelled, through any outage of Redis."""
        backoff_s = 0.1
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    while True:
                        message = await _next_message(subscription)
                        backoff_s = 0.1
                        if message["type"] == "subscribe":
                            self._following_anew()
                        elif message["type"] == "message":
                            self._publish(message["data"])
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("live feed lost", error=str(error)[:200], retry_in_s=backoff_s)
            self._watching_since = None
            await asyncio.sleep(backoff_s)
            backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)

    def _following_anew(self) -> None:
        """From here on nothing is missed; whoever is told so any earlier would ask again too soon."""
        self._watching_since = time.monotonic()
        for queue in self._queues:
            queue.miss_unknown()

    async def watch_rights(self, sessions: Sessions) -> None:
        """Let go, until cancelled, whoever may listen no longer."""
        while True:
            await asyncio.sleep(_CHECK_RIGHTS_S)
            keys = {viewer.session_key for viewer in self._queues.values()}
            ended: set[str] = set()
            # While Redis is away, nobody can sign out, and the feed itself is silent.
            with suppress(DependencyUnavailable):
                ended = await sessions.ended(key for key in keys if key is not None)
            for queue, viewer in self._queues.items():
                if not viewer.judge(ended):
                    queue.close()
                elif viewer.sees_others():
                    queue.see_others()

    def close(self) -> None:
        """Let every client go and take no new one."""
        self._closed = True
        for queue in self._queues:
            queue.close()

    async def disconnect(self) -> None:
        await self._redis.aclose()

    def _publish(self, data: bytes) -> None:
        try:
            published = _decode_published(data)
            items = [bytes(item).replace(b"\n", b" ") for item in published.items]
            message = LiveMessage(published.type, items, self._position + len(items))
            device_ids = message.device_ids
        except msgspec.MsgspecError as error:
            log.warning("live message refused", error=str(error)[:200])
            return
        self._position = message.position
        LIVE_ITEMS.labels(message.kind).inc(len(items))
        if message.kind == "readings":
            self._rate.append((time.monotonic(), device_ids))
            self._in_window.update(device_ids)
            self._forget_before(time.monotonic() - _RATE_WINDOW_S)
        self._remember(message)
        for queue in self._queues:
            queue.offer(message)

    def _forget_before(self, at: float) -> None:
        while self._rate and self._rate[0][0] < at:
            self._in_window.subtract(self._rate.popleft()[1])
        if len(self._in_window) > _MOST_COUNTED:
            self._in_window += Counter()

    def _remember(self, message: LiveMessage) -> None:
        self._memory.append(message)
        self._remembered_items += len(message.items)
        while self._remembered_items > REMEMBERED_ITEMS:
            self._remembered_items -= len(self._memory.popleft().items)

    @contextmanager
    def _joined(self, queue: LiveQueue, viewer: LiveViewer, transport: str) -> Iterator[None]:
        # Many may have been let in at once, before the first of them was here.
        if self._closed or self.full or self.has_enough(viewer.user_id):
            queue.close()
        self._queues[queue] = viewer
        LIVE_CLIENTS.labels(transport).inc()
        try:
            yield
        finally:
            del self._queues[queue]
            LIVE_CLIENTS.labels(transport).dec()

    async def events(
        self,
        viewer: LiveViewer,
        *,
        transport: str,
        last_event_id: str | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> AsyncIterator[LiveEvent]:
        """All events for one client, until it may listen no longer or the server stops."""
        queue = LiveQueue(viewer)
        with self._joined(queue, viewer, transport):
            position = self._position if last_event_id is None else self._catch_up(queue, last_event_id)
            yield self._event("hello", {"at": self._now(), "heartbeat_s": heartbeat_s}, position)
            while not queue.closed:
                if not await queue.wait(heartbeat_s):
                    yield self._event("heartbeat", {"at": self._now()})
                    continue
                missed, count = queue.take_missed()
                if missed:
                    yield self._event("missed", {"count": count})
                if queue.take_sees_others():
                    yield self._event("sight", {})
                message = queue.take()
                if message is not None and not queue.closed:
                    yield self._items_event(message)

    def _catch_up(self, queue: LiveQueue, last_event_id: str) -> int:
        """Queue what came after an event id; return where the client stands now."""
        said = _EVENT_ID.fullmatch(last_event_id)
        position = int(said[2]) if said and said[1] == self._process else -1
        first = self._memory[0].position - len(self._memory[0].items) if self._memory else self._position
        if not first <= position <= self._position:
            queue.miss_unknown()
            return self._position
        for message in self._memory:
            if message.position > position:
                queue.offer(message)
        return position

    def _now(self) -> str:
        return format_instant(self._clock.now_ms())

    def _id(self, position: int) -> str:
        return f"{self._process}-{position}"

    def _event(self, name: str, members: dict[str, object], position: int | None = None) -> LiveEvent:
        event_id = None if position is None else self._id(position)
        more = {} if event_id is None else {"id": event_id}
        return LiveEvent(name, event_id, msgspec.json.encode({"type": name, **more, **members}))

    def _items_event(self, message: LiveMessage) -> LiveEvent:
        event_id = self._id(message.position)
        head = b'{"type":"%b","id":"%b","items":[' % (message.kind.encode(), event_id.encode())
        return LiveEvent(message.kind, event_id, head + b",".join(message.items) + b"]}")


async def _next_message(subscription: PubSub) -> dict[str, Any]:
    """What Redis says next; after `SILENCE_S` without a word it is asked, so that this is a `pong` at least.

    Raises:
        TimeoutError: not a word: the connection is dead, though nobody has said so.
    """
    message: dict[str, Any] | None = await subscription.get_message(timeout=SILENCE_S)
    if message is None:
        await subscription.ping()
        message = await subscription.get_message(timeout=SILENCE_S)
    if message is None:
        raise TimeoutError(f"no answer to a ping within {SILENCE_S:g} s")
    return message
