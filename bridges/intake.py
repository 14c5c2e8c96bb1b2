"""What has come over MQTT and is not settled yet: in order, bounded, each message once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from bridges.metrics import BridgeMetrics
from bridges.mqtt_packets import Publish
from domain.clock import Clock

# How soon a batch sets out that has become full while it waited.
_LOOK_EVERY_S = 0.005


class Link(Protocol):
    """The connection a message came over."""

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Settle these packet ids with the broker."""

    def pause(self) -> None:
        """Read no more."""

    def resume(self) -> None:
        """Read on."""


class Message:
    """One message under way to the log, and every delivery of it that waits for the outcome."""

    __slots__ = ("deliveries", "link", "packet_id", "payload", "received_at_ms", "retained", "topic")

    def __init__(self, link: Link, publish: Publish, received_at_ms: int) -> None:
        self.topic = publish.topic
        self.payload = publish.payload
        self.retained = publish.retained
        self.link = link
        self.packet_id = publish.packet_id
        self.received_at_ms = received_at_ms
        self.deliveries: list[tuple[Link, int]] | None = None

    def also(self, link: Link, packet_id: int) -> None:
        """Wait for this message's outcome on another delivery too; the same one again changes nothing."""
        if link is self.link and packet_id == self.packet_id:
            return
        if self.deliveries is None:
            self.deliveries = []
        if (link, packet_id) not in self.deliveries:
            self.deliveries.append((link, packet_id))


class Intake:
    """The messages between the broker and the log.

    Reading stops at `max_messages` or `max_bytes` (Mosquitto 2.0.11 sent 45,000 messages ahead with
    `max_inflight_messages 1000`); messages at QoS 0, which promise nothing, are dropped then.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: BridgeMetrics,
        *,
        max_messages: int = 20_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Message] = deque()
        self._under_way: dict[tuple[str, bytes], Message] = {}
        self._unsettled = 0
        self._unsettled_bytes = 0
        self._paused: list[Link] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    @property
    def unsettled(self) -> int:
        """Messages held back from the broker."""
        return self._unsettled

    def take(self, link: Link, publish: Publish) -> None:
        """Keep a message until it is settled.

        A data payload that is under way already joins it: the readings in it are the same. A status joins only as a
        redelivery (DUP), because "online, offline, online" ends differently from "online, offline".
        """
        if self._closed:
            return
        key = (publish.topic, publish.payload)
        held = self._under_way.get(key)
        if held is not None and publish.packet_id is not None and (publish.again or publish.topic.endswith("/data")):
            held.also(link, publish.packet_id)
            self._metrics.redelivered.inc()
            return
        if not self._room.is_set():
            if publish.packet_id is None:
                self._metrics.dropped.inc()
                return
            self._pause(link)
        message = Message(link, publish, self._clock.now_ms())
        self._under_way[key] = message
        self._waiting.append(message)
        self._unsettled += 1
        self._unsettled_bytes += len(publish.payload)
        if self._unsettled >= self._max_messages or self._unsettled_bytes >= self._max_bytes:
            self._room.clear()
            self._pause(link)
        if not self._arrived.is_set():
            self._arrived.set()

    def _pause(self, link: Link) -> None:
        link.pause()
        if link not in self._paused:
            self._paused.append(link)

    async def has_room(self) -> None:
        """Return once a new connection may bring more."""
        await self._room.wait()

    async def next_batch(
        self,
        *,
        linger_s: float,
        max_messages: int,
        max_bytes: int,
        full_from: int | None = None,
        not_before_s: float = 0.0,
    ) -> list[Message]:
        """The next messages in order of arrival; none only after `close`, when all have been given out.

        Args:
            linger_s: how long to wait for company after the first.
            full_from: with so many there is no waiting, and no more are taken than this or half of what waits: so the
                other half is gathered while this one is on its way. None: `max_messages`.
            not_before_s: an instant of the monotonic clock until which a batch that is not full waits all the same.
        """
        await self._arrived.wait()
        full_from = full_from or max_messages
        await self._gather(full_from, linger_s, not_before_s)
        batch: list[Message] = []
        size = 0
        waiting = self._waiting
        max_messages = min(max_messages, max(full_from, len(waiting) // 2))
        while waiting and len(batch) < max_messages and size < max_bytes:
            message = waiting.popleft()
            size += len(message.payload)
            batch.append(message)
        if not waiting and not self._closed:
            self._arrived.clear()
        return batch

    async def _gather(self, count: int, linger_s: float, not_before_s: float) -> None:
        """Wait for company until so many wait, or the time is over."""
        clock_s = time.monotonic
        until_s = max(clock_s() + linger_s, not_before_s)
        while len(self._waiting) < count and not self._closed and (left_s := until_s - clock_s()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, _LOOK_EVERY_S))

    def settle(self, batch: Iterable[Message]) -> None:
        """Acknowledge these messages, each delivery on the link it came over, and forget them."""
        acknowledged: dict[Link, list[int]] = {}
        for message in batch:
            key = (message.topic, message.payload)
            if self._under_way.get(key) is message:
                del self._under_way[key]
            self._unsettled -= 1
            self._unsettled_bytes -= len(message.payload)
            if message.packet_id is not None:
                acknowledged.setdefault(message.link, []).append(message.packet_id)
            for link, packet_id in message.deliveries or ():
                acknowledged.setdefault(link, []).append(packet_id)
        for link, packet_ids in acknowledged.items():
            link.acknowledge(packet_ids)
        self._make_room()

    def _make_room(self) -> None:
        if self._room.is_set():
            return
        if self._unsettled <= self._max_messages // 2 and self._unsettled_bytes <= self._max_bytes // 2:
            self._room.set()
            for link in self._paused:
                link.resume()
            self._paused.clear()

    def close(self) -> None:
        """Take nothing more: what comes now stays with the broker."""
        self._closed = True
        self._arrived.set()
