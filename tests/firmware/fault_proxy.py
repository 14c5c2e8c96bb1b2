"""A bad network between a socket and its broker: resets, silence, and acknowledgements that never arrive."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PUBACK = 4
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Forwards to a broker.

    Attributes:
        port: where the socket connects.
        lose_pubacks: how many of the broker's next PUBACKs are thrown away; counts down.
        lines: connections so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallows = False
        self.port = 0
        self.lose_pubacks = 0
        self.lines = 0

    def reset(self) -> None:
        """RST to both ends of every connection."""
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    def reset_in_flight(self) -> None:
        """The same, once the socket sends something, which is lost with it."""
        self._swallows = True

    @asynccontextmanager
    async def blackhole(self) -> AsyncIterator[None]:
        """Nothing passes in either direction, and nobody is told; TCP delivers it afterwards."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines += 1
        ends = {writer}
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            ends.add(up_writer)
            self._writers.add(up_writer)
            pumps = [self._send_on(reader, up_writer), self._send_back(up_reader, writer)]
            tasks = [asyncio.ensure_future(pump) for pump in pumps]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        except OSError:
            pass
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _send_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                await self._passes.wait()
                if self._swallows:
                    self._swallows = False
                    self.reset()
                    return
                writer.write(data)
                await writer.drain()

    async def _send_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await _packet(reader)
                await self._passes.wait()
                if packet[0] >> 4 == _PUBACK and self.lose_pubacks:
                    self.lose_pubacks -= 1
                    continue
                writer.write(packet)
                await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    length, shift = head[1] & 0x7F, 7
    while head[-1] & 0x80:
        head += await reader.readexactly(1)
        length |= (head[-1] & 0x7F) << shift
        shift += 7
    return head + await reader.readexactly(length)


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """A proxy on a free port of loopback."""
    proxy = FaultProxy(host, port)
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.accept(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.reset()
        if handlers:
            await asyncio.wait(handlers, timeout=5)
        await server.wait_closed()
