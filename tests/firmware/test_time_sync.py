"""Where a socket has the time from: servers that agree, disagree, lie or are silent; MicroPython asks real sockets."""

from __future__ import annotations

import asyncio
import json
import ssl
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.authority import Authority
from tests.firmware.micropython import SIM, command, environment
from tests.firmware.ntp_server import NtpServer, ntp_server

HOUR_MS = 3_600_000
NEAR_MS = 60_000
"""Far more than a busy machine takes, far less than what a liar says."""


class Asking:
    """A socket that asks for the time whenever it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self) -> tuple[bool, int | None]:
        """Whether it took a time, and how far its clock is off."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        told: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), 30))
        return told["taken"], told["off_ms"]


@asynccontextmanager
async def asking(
    servers: Sequence[NtpServer], web_port: int | None = None, is_tls: bool = False
) -> AsyncIterator[Asking]:
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(ntp_server(server))
        web = ["127.0.0.1", web_port, is_tls] if web_port else None
        plan = json.dumps({"ntp": [server.address for server in servers], "web": web})
        process = await asyncio.create_subprocess_exec(
            *command(SIM / "keep_time.py", plan), env=environment(), stdin=PIPE, stdout=PIPE
        )
        try:
            yield Asking(process)
        finally:
            process.kill()
            await process.wait()


def is_near(off_ms: int | None, ahead_ms: int = 0) -> bool:
    return off_ms is not None and abs(off_ms - ahead_ms) < NEAR_MS


async def test_of_two_servers_that_disagree_the_first_is_taken_and_a_third_decides() -> None:
    liar, honest, third = NtpServer(ahead_ms=HOUR_MS), NtpServer(), NtpServer(stratum=0)
    async with asking([liar, honest, third]) as socket:
        taken, off_ms = await socket.ask()
        assert taken
        assert is_near(off_ms, HOUR_MS)
        third.stratum = 2
        taken, off_ms = await socket.ask()
        assert taken
        assert is_near(off_ms)


async def test_a_lone_liar_does_not_move_a_known_time_in_one_round() -> None:
    server = NtpServer()
    async with asking([server]) as socket:
        taken, off_ms = await socket.ask()
        assert taken
        assert is_near(off_ms)
        server.ahead_ms = HOUR_MS
        taken, off_ms = await socket.ask()
        assert not taken
        assert is_near(off_ms)
        server.ahead_ms = 2 * HOUR_MS
        taken, off_ms = await socket.ask()
        assert not taken, "another lie does not confirm the first"
        taken, off_ms = await socket.ask()
        assert taken, "who says the same twice may be right: then it was the time before that was wrong"
        assert is_near(off_ms, 2 * HOUR_MS)


@pytest.mark.parametrize(
    "server",
    [
        NtpServer(ahead_ms=-50 * 365 * 24 * HOUR_MS),
        NtpServer(stratum=0),
        NtpServer(stratum=16),
        NtpServer(leap=3),
    ],
    ids=["before this firmware", "ask me later", "not synchronized", "alarm"],
)
async def test_what_cannot_be_the_time_is_not_taken(server: NtpServer) -> None:
    async with asking([server]) as socket:
        assert await socket.ask() == (False, None)
        assert server.asked == 1


@asynccontextmanager
async def web_server(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on its port that answers whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    web = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield web.sockets[0].getsockname()[1]
    finally:
        web.close()
        await web.wait_closed()


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
async def test_without_ntp_the_time_is_the_one_of_the_engines_web_server(is_tls: bool, tmp_path: Path) -> None:
    # Who knows no time can check no certificate: any will do.
    tls = Authority(tmp_path, "ours").server() if is_tls else None
    head = f"HTTP/1.1 404 Not Found\r\nServer: x\r\nDate: {formatdate(usegmt=True)}\r\n\r\n"
    async with web_server(head.encode(), tls) as port, asking([NtpServer(stratum=0)], port, is_tls) as socket:
        taken, off_ms = await socket.ask()
    assert taken
    assert is_near(off_ms)


async def test_a_web_server_that_never_ends_its_line_is_not_heard_out() -> None:
    async with web_server(b"HTTP/1.1 200 " + bytes(1_000_000)) as port, asking([NtpServer(stratum=0)], port) as socket:
        assert await socket.ask() == (False, None)
