"""An NTP server of a test's own, right or wrong as the test wants. Source: RFC 4330, section 4."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

_NTP_TO_UNIX_S = 2_208_988_800


class NtpServer(asyncio.DatagramProtocol):
    """Answers each request.

    Attributes:
        ahead_ms: how far its clock is ahead.
        silent: whether it says nothing.
        stratum, leap: as it says of itself.
        asked: requests so far.
    """

    def __init__(self, *, ahead_ms: int = 0, silent: bool = False, stratum: int = 2, leap: int = 0) -> None:
        self.ahead_ms, self.silent, self.stratum, self.leap = ahead_ms, silent, stratum, leap
        self.asked = 0
        self.address = ("127.0.0.1", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        if self.silent:
            return
        now_ms = time.time_ns() // 1_000_000 + self.ahead_ms
        stamp = struct.pack(">II", now_ms // 1000 + _NTP_TO_UNIX_S & 0xFFFFFFFF, (now_ms % 1000 << 32) // 1000)
        head = bytes((self.leap << 6 | 4 << 3 | 4, self.stratum, 0, 0))
        self._transport.sendto(head + bytes(20) + data[40:48] + stamp + stamp, addr)


@asynccontextmanager
async def ntp_server(server: NtpServer) -> AsyncIterator[NtpServer]:
    """The server, listening on a free port of loopback."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
