"""One connection to an MQTT 3.1.1 broker: QoS 1 both ways, TLS with its certificate checked, no wait without an end.

Nothing grows with the number of messages: one receive buffer, a fixed number of publishes in flight, a fixed outbox.
A connection that is lost stays lost; whoever wants another makes a new `Link`.
"""

import asyncio

import hal
import mqtt_packets as packets
from packet_stream import RECEIVE_BYTES, PacketStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from ssl import SSLContext
    from typing import Any

IN_FLIGHT = 4
_OUTBOX = 8
_JOINED_BYTES = 512
_CHECK_MS = 250


class LinkLost(Exception):
    """The connection is gone or was never made; the first argument says why."""


class _Flight:
    """One publish or subscribe that waits for its answer."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.packet_id = 0
        self.since = 0
        self.grants: bytes | None = None


class Link:
    """
    Args:
        stream: a `PacketStream` that no other `Link` uses any more.
        server: (host, port).
        login: (client id, user, password).
        on_message: called with topic and payload (a memoryview that is only valid during the call); must not block.
        will: (topic, payload) that the broker publishes, retained, when the connection breaks.
        tls: from `packet_stream.tls_context`, or None for plain TCP.
        server_name: name that the certificate must bear; the host unless given.
    """

    def __init__(
        self,
        stream: PacketStream,
        server: "tuple[str, int]",
        login: "tuple[str, str, str]",
        on_message: "Callable[..., Any]",
        will: "tuple[str, bytes] | None" = None,
        tls: "SSLContext | None" = None,
        server_name: "str | None" = None,
        keep_alive_s: int = 30,
        answer_ms: int = 10_000,
    ) -> None:
        self._server, self._login, self._on_message = server, login, on_message
        self._will, self._tls, self._server_name = will, tls, server_name or server[0]
        self._keep_alive_s, self._answer_ms = keep_alive_s, answer_ms
        self._stream = stream
        self._tasks: list[asyncio.Task] = []
        self._flights = [_Flight() for _ in range(IN_FLIGHT)]
        self._flight_free, self._ended = asyncio.Event(), asyncio.Event()
        self._outbox: list[tuple[bytes, bytes | memoryview | None]] = []
        self._outbox_filled = asyncio.Event()
        self._packet_id = 0
        self._writing = self._pinged = self._leaving = False
        self._written_at = self._heard_at = self._pinged_at = 0
        self.lost = ""
        self.messages_too_long = 0

    async def open(self) -> None:
        """Connect and log in. Raises LinkLost."""
        try:
            await asyncio.wait_for(self._log_in(), self._answer_ms / 1000)
        except asyncio.TimeoutError:  # noqa: UP041
            self._fail("no answer to CONNECT")
        except Exception as error:
            self._fail(f"connect: {error!r}")
        if self.lost:
            raise LinkLost(self.lost)
        self._heard_at = self._written_at = hal.ticks_ms()
        self._tasks = [asyncio.create_task(self._guarded(part)) for part in (self._read, self._write, self._watch)]

    async def _log_in(self) -> None:
        stream = self._stream
        await stream.connect(self._server, self._tls, self._server_name)
        await stream.write(packets.connect(self._login, self._keep_alive_s, self._will))
        if await stream.next_packet() != packets.CONNACK:
            raise packets.Malformed("no CONNACK")
        if stream.buffer[1]:
            self._fail(f"refused: {stream.buffer[1]}")

    async def subscribe(self, wanted: "list[tuple[str, int]]") -> None:
        """Subscribe to pairs of filter and QoS. Raises LinkLost, also if the broker grants less than was asked for."""
        flight = await self._take_flight()
        try:
            flight.grants = b""
            await self._answered(flight, packets.subscribe(flight.packet_id, wanted), None)
            if list(flight.grants or b"") != [qos for _, qos in wanted]:
                self._fail(f"not granted: {bytes(flight.grants or b'')!r}")
                raise LinkLost(self.lost)
        finally:
            flight.grants = None
            self._give_back(flight)

    async def publish(self, topic: str, payload: "bytes | memoryview", retain: bool = False) -> None:
        """Publish at QoS 1; returns once the broker has acknowledged. `payload` must stay as it is until then.

        Raises LinkLost.
        """
        flight = await self._take_flight()
        try:
            head = packets.publish_head(topic, len(payload), flight.packet_id, retain)
            if len(payload) <= _JOINED_BYTES:
                await self._answered(flight, head + bytes(payload), None)
            else:
                await self._answered(flight, head, payload)
        finally:
            self._give_back(flight)

    async def ended(self) -> str:
        """Wait until the connection is lost; why."""
        await self._ended.wait()
        return self.lost

    def close(self, why: str = "closed") -> None:
        """End the connection without a good-bye, so that the broker publishes the will."""
        self._fail(why)

    async def leave(self) -> None:
        """Say good-bye, so that the broker drops the will, and end the connection."""
        if not self.lost and len(self._outbox) < _OUTBOX:
            self._leaving = True
            self._enqueue(packets.DISCONNECT_PACKET, None)
            for _ in range(20):
                if self.lost or not (self._outbox or self._writing):
                    break
                await asyncio.sleep(0.05)
        self._fail("left")

    async def _take_flight(self) -> _Flight:
        while True:
            if self.lost:
                raise LinkLost(self.lost)
            for flight in self._flights:
                if not flight.packet_id:
                    flight.packet_id = self._new_packet_id()
                    flight.since = hal.ticks_ms()
                    flight.done.clear()
                    return flight
            self._flight_free.clear()
            await self._flight_free.wait()

    def _new_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 65535 + 1
            if all(flight.packet_id != self._packet_id for flight in self._flights):
                return self._packet_id

    def _give_back(self, flight: _Flight) -> None:
        # A caller that gave up leaves its answer still to come: the id is not used again on this connection.
        if flight.done.is_set() or self.lost:
            flight.packet_id = 0
            self._flight_free.set()
        else:
            self._fail("given up")

    async def _answered(self, flight: _Flight, head: bytes, body: "bytes | memoryview | None") -> None:
        self._enqueue(head, body)
        await flight.done.wait()
        if self.lost:
            raise LinkLost(self.lost)

    def _enqueue(self, head: bytes, body: "bytes | memoryview | None") -> None:
        self._outbox.append((head, body))
        self._outbox_filled.set()

    async def _guarded(self, part: "Callable[[], Awaitable[None]]") -> None:
        try:
            await part()
        except Exception as error:
            # A defect in here, or in whoever takes the messages, must not leave a connection that stands and is deaf.
            self._fail(f"{error!r}")

    async def _write(self) -> None:
        while True:
            while self._outbox:
                head, body = self._outbox.pop(0)
                self._written_at, self._writing = hal.ticks_ms(), True
                await self._stream.write(head)
                if body is not None:
                    await self._stream.write(body)
                self._writing = False
            self._outbox_filled.clear()
            await self._outbox_filled.wait()

    async def _watch(self) -> None:
        keep_alive_ms = self._keep_alive_s * 1000
        while True:
            await asyncio.sleep(_CHECK_MS / 1000)
            now = hal.ticks_ms()
            since = hal.ticks_diff
            if self._writing and since(now, self._written_at) > self._answer_ms:
                return self._fail("cannot write")
            for flight in self._flights:
                if flight.packet_id and not flight.done.is_set() and since(now, flight.since) > self._answer_ms:
                    return self._fail("no answer to a publish or subscribe")
            if self._pinged:
                if since(now, self._pinged_at) > self._answer_ms:
                    return self._fail("no answer to a ping")
            elif max(since(now, self._heard_at), since(now, self._written_at)) > keep_alive_ms // 2:
                self._pinged, self._pinged_at = True, now
                self._enqueue(packets.PINGREQ_PACKET, None)

    async def _read(self) -> None:
        stream, buffer = self._stream, self._stream.buffer
        while True:
            kind = await stream.next_packet()
            self._heard_at = hal.ticks_ms()
            if kind == packets.PINGRESP:
                self._pinged = False
            elif kind == packets.PUBACK:
                self._settle(buffer[0] << 8 | buffer[1], None)
            elif kind == packets.SUBACK:
                self._settle(buffer[0] << 8 | buffer[1], bytes(buffer[2 : stream.length]))
            elif kind == packets.PUBLISH:
                await self._take_message()
            else:
                raise packets.Malformed("a second CONNACK")

    def _settle(self, packet_id: int, grants: "bytes | None") -> None:
        for flight in self._flights:
            if flight.packet_id == packet_id and packet_id and (flight.grants is None) == (grants is None):
                flight.grants = grants
                flight.done.set()
                return
        raise packets.Malformed("an answer to nothing")

    async def _take_message(self) -> None:
        stream, buffer = self._stream, self._stream.buffer
        too_long = stream.length > RECEIVE_BYTES
        if too_long and 2 + (buffer[0] << 8 | buffer[1]) + 2 > RECEIVE_BYTES:
            raise packets.Malformed("topic")
        topic, packet_id, start = packets.publish_parts(stream.first_byte, buffer, min(stream.length, RECEIVE_BYTES))
        if too_long:
            self.messages_too_long += 1
        else:
            self._on_message(topic, buffer[start : stream.length])
        if packet_id:
            while len(self._outbox) >= _OUTBOX:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self._enqueue(packets.puback(packet_id), None)

    def _fail(self, why: str) -> None:
        if self.lost:
            return
        self.lost = "left" if self._leaving else why
        current = asyncio.current_task() if self._tasks else None
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._outbox.clear()
        self._stream.close()
        for flight in self._flights:
            flight.done.set()
        self._flight_free.set()
        self._ended.set()
