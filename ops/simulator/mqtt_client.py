"""A lean MQTT 3.1.1 client: many of them, or very fast ones, in one event loop.

One `asyncio.Protocol` per connection and no task of its own. What is published within one turn of the loop goes out
in one write. Every QoS 1 message carries a token of the caller's, handed back when its PUBACK comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from ops.simulator.mqtt_login import Login, MqttClosed, MqttRefused
from ops.simulator.mqtt_packets import (
    CONNACK,
    CONNECT_REFUSALS,
    DISCONNECT_PACKET,
    MAX_PACKET_ID,
    PINGREQ_PACKET,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIPTION_FAILED,
    MalformedPacket,
    Message,
    Packet,
    PacketReader,
    decode_publish,
    puback_packet,
    publish_packet,
    subscribe_packet,
)


def _ignore(*_: Any) -> None:
    return None


class MqttClient(asyncio.Protocol):
    """One connection; make it with `connect`.

    Args:
        on_message: called for each message that comes; a QoS 1 one is acknowledged when it returns.
        on_puback: called with the tokens of the messages that the broker has taken.
    """

    def __init__(
        self,
        login: Login,
        on_message: Callable[[Message], None] = _ignore,
        on_puback: Callable[[Sequence[Any]], None] = _ignore,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._login, self._on_message, self._on_puback = login, on_message, on_puback
        self._transport: asyncio.Transport | None = None
        self._reader = PacketReader()
        self._outgoing: list[bytes] = []
        self._tokens: dict[int, Any] = {}
        self._packet_id = 0
        self._accepted: asyncio.Future[bool] = self._loop.create_future()
        self._subscribing: dict[int, asyncio.Future[bytes]] = {}
        self._may_write = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._spoke_at = self._loop.time()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        """Done, with the reason, when the connection is gone."""

    @property
    def in_flight(self) -> int:
        """QoS 1 messages published whose PUBACK has not come."""
        return len(self._tokens)

    # --- what a caller does -----------------------------------------------------------------------------

    def publish(self, topic: bytes, payload: bytes, token: Any = None, *, retain: bool = False) -> None:
        """Send with QoS 1; `topic` comes from `encode_text`.

        Raises:
            MqttClosed: the connection is gone, or 65,535 messages are without their PUBACK.
        """
        packet_id = self._next_packet_id()
        self._tokens[packet_id] = token
        self._send(publish_packet(topic, payload, packet_id, retain=retain))

    def publish_unacknowledged(self, topic: bytes, payload: bytes) -> None:
        """Send with QoS 0.

        Raises:
            MqttClosed: the connection is gone.
        """
        self._send(publish_packet(topic, payload))

    async def subscribe(self, filters: Sequence[tuple[str, int]], timeout_s: float = 10) -> None:
        """Subscribe to (filter, QoS) pairs.

        Raises:
            MqttRefused: one of them was not granted.
            MqttClosed: the connection went away, or no answer came in time.
        """
        packet_id = self._next_packet_id()
        answer = self._subscribing[packet_id] = self._loop.create_future()
        self._send(subscribe_packet(packet_id, filters))
        codes = await self._answer(answer, timeout_s, "SUBACK")
        if any(code >= SUBSCRIPTION_FAILED for code in codes) or len(codes) != len(filters):
            raise MqttRefused(f"subscription of {self._login.client_id} not granted: {[text for text, _ in filters]}")

    async def writable(self) -> None:
        """Return when the socket takes more (back-pressure of TCP).

        Raises:
            MqttClosed: the connection is gone.
        """
        if not self._may_write.is_set():
            await self._may_write.wait()
        if self.closed.done():
            raise MqttClosed(self.closed.result())

    async def disconnect(self, timeout_s: float = 5) -> None:
        """Say goodbye (the broker drops the will) and wait until the connection is closed."""
        if self._transport is not None and not self._transport.is_closing():
            self._send(DISCONNECT_PACKET)
            self._flush()
            self._transport.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.closed), timeout_s)
        self.abort()

    def abort(self) -> None:
        """Break the connection without a goodbye, as a power cut does."""
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._may_write.set()
        self._send(self._login.packet())
        if self._login.keep_alive_s:
            self._timer = self._loop.call_later(self._login.keep_alive_s / 2, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = str(exc) if exc else "closed by the broker or by us"
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(reason)
        answers: list[asyncio.Future[Any]] = [self._accepted, *self._subscribing.values()]
        for waiting in answers:
            if not waiting.done():
                waiting.set_exception(MqttClosed(reason))
                waiting.exception()  # nobody may be waiting any more
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        packet_ids = self._reader.feed_pubacks(data)
        if packet_ids is not None:
            self._acknowledged(packet_ids)
            return
        try:
            for packet in self._reader.feed(data):
                self._take(packet)
        except (MalformedPacket, UnicodeDecodeError) as error:
            self._fail(f"not MQTT: {error}")

    # --- inside -----------------------------------------------------------------------------------------

    def _take(self, packet: Packet) -> None:
        if packet.kind == PUBLISH:
            message = decode_publish(packet)
            self._on_message(message)
            if message.packet_id is not None:
                self._send(puback_packet(message.packet_id))
        elif packet.kind == PUBACK:
            self._acknowledged((int.from_bytes(packet.body[:2], "big"),))
        elif packet.kind == SUBACK:
            waiting = self._subscribing.pop(int.from_bytes(packet.body[:2], "big"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(packet.body[2:])
        elif packet.kind == CONNACK and not self._accepted.done():
            self._connected(packet.body)

    def _connected(self, body: bytes) -> None:
        if len(body) == 2 and body[1] == 0:
            self._accepted.set_result(bool(body[0] & 1))
            return
        code = body[1] if len(body) == 2 else 0
        why = CONNECT_REFUSALS.get(code, f"code {code}")
        self._accepted.set_exception(MqttRefused(f"connection of {self._login.client_id} refused: {why}"))

    def _acknowledged(self, packet_ids: Sequence[int]) -> None:
        tokens = self._tokens
        taken = [tokens.pop(packet_id) for packet_id in packet_ids if packet_id in tokens]
        self._on_puback(taken)

    def _next_packet_id(self) -> int:
        if len(self._tokens) >= MAX_PACKET_ID - 1:
            raise MqttClosed("65,534 messages are without their PUBACK")
        while True:
            self._packet_id = self._packet_id % MAX_PACKET_ID + 1
            if self._packet_id not in self._tokens and self._packet_id not in self._subscribing:
                return self._packet_id

    def _send(self, packet: bytes) -> None:
        if self.closed.done():
            raise MqttClosed(self.closed.result())
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packet)

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None and not self._transport.is_closing():
            self._spoke_at = self._loop.time()
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _keep_alive(self) -> None:
        now, limit_s = self._loop.time(), self._login.keep_alive_s
        if now - self._heard_at > limit_s * 1.5:
            self._fail(f"nothing heard for {now - self._heard_at:.0f} s")
            return
        if now - min(self._spoke_at, self._heard_at) >= limit_s * 0.4:
            self._send(PINGREQ_PACKET)
        self._timer = self._loop.call_later(limit_s / 2, self._keep_alive)

    def _fail(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        self.abort()

    async def _answer(self, answer: asyncio.Future[Any], timeout_s: float, what: str) -> Any:
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            self.abort()
            raise MqttClosed(f"no {what} within {timeout_s:g} s") from None

    async def accepted(self, timeout_s: float) -> bool:
        """Whether the broker still had our session, once it has accepted us.

        Raises:
            MqttRefused: it did not accept us.
            MqttClosed: it did not answer in time.
        """
        return bool(await self._answer(self._accepted, timeout_s, "CONNACK"))


async def connect(
    login: Login,
    *,
    on_message: Callable[[Message], None] = _ignore,
    on_puback: Callable[[Sequence[Any]], None] = _ignore,
    timeout_s: float = 10,
) -> MqttClient:
    """A client that the broker has accepted.

    Raises:
        MqttRefused: it did not accept us.
        MqttClosed: it is out of reach or did not answer in time.
    """
    loop = asyncio.get_running_loop()
    opening = loop.create_connection(
        lambda: MqttClient(login, on_message, on_puback), login.host, login.port, ssl=login.tls
    )
    try:
        _, client = await asyncio.wait_for(opening, timeout_s)
    except (OSError, TimeoutError) as error:
        detail = str(error) or f"no connection within {timeout_s:g} s"
        raise MqttClosed(f"{login.host}:{login.port}: {detail}") from error
    try:
        await client.accepted(timeout_s)
    except BaseException:
        client.abort()
        raise
    return client
