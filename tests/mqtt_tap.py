"""A tap in the line between the bridge and its broker: sees what is acknowledged and when, and can cut the line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PUBLISH, PUBACK = 3, 4


@dataclass
class Line:
    """One connection through the tap."""

    delivered: list[tuple[str, int]] = field(default_factory=list)
    """Topic and packet id of what the broker sent at QoS 1, in order."""
    acknowledged: list[int] = field(default_factory=list)
    """Packet ids in the PUBACKs that the bridge sent, in order."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def delivered_of(self, device_id: str) -> list[int]:
        """Packet ids of what came from this device, redeliveries included."""
        return [packet_id for topic, packet_id in self.delivered if f"/{device_id}/" in topic]

    def acknowledged_of(self, device_id: str) -> list[int]:
        """Packet ids of this device's messages that the bridge has acknowledged here."""
        own = set(self.delivered_of(device_id))
        return [packet_id for packet_id in self.acknowledged if packet_id in own]

    def cut(self) -> None:
        """Break the connection on both sides, as a failing network does."""
        for writer in self.writers:
            writer.transport.abort()


class MqttTap:
    """Forwards to a broker; `lines` has every connection made, in order."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.port = 0
        self.lines: list[Line] = []

    def acknowledged_of(self, device_id: str) -> int:
        """PUBACKs that the bridge has sent for this device's messages, over all lines."""
        return sum(len(line.acknowledged_of(device_id)) for line in self.lines)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        line = Line(writers=[writer, up_writer])
        self.lines.append(line)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, up_writer, line))
                pumps.create_task(_pump(up_reader, writer, line))
        finally:
            line.cut()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            first_byte, length, header = await _fixed_header(reader)
            body = await reader.readexactly(length)
            _note(first_byte, body, line)
            writer.write(header + body)
            await writer.drain()
    for one in line.writers:
        with suppress(OSError):
            one.close()


async def _fixed_header(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    header = await reader.readexactly(2)
    length, shift = header[1] & 0x7F, 7
    while header[-1] & 0x80:
        header += await reader.readexactly(1)
        length |= (header[-1] & 0x7F) << shift
        shift += 7
    return header[0], length, header


def _note(first_byte: int, body: bytes, line: Line) -> None:
    kind = first_byte >> 4
    if kind == PUBACK:
        line.acknowledged.append(int.from_bytes(body[:2], "big"))
    elif kind == PUBLISH and first_byte & 0x06:
        start = 2 + int.from_bytes(body[:2], "big")
        line.delivered.append((body[2:start].decode(), int.from_bytes(body[start : start + 2], "big")))


@asynccontextmanager
async def mqtt_tap(host: str, port: int) -> AsyncIterator[MqttTap]:
    """A tap on a free port of loopback."""
    tap = MqttTap(host, port)
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(tap.accept(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        for line in tap.lines:
            line.cut()
        if handlers:
            await asyncio.wait(handlers, timeout=5)
        await server.wait_closed()
