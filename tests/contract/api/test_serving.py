"""Serving: the API lets go of everybody in time, and says why it cannot listen."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api import server
from api.server import _listen, serve
from domain.errors import SettingInvalid
from tests.contract.api.members import bearer
from tests.contract.api.stranded import stranded_app


@pytest.fixture
def stranded(tmp_path: Path) -> tuple[FastAPI, str]:
    return stranded_app(tmp_path, metrics_sources={"bridge": "http://127.0.0.1:9/metrics"})


@pytest.fixture
def app(stranded: tuple[FastAPI, str]) -> FastAPI:
    return stranded[0]


@pytest.fixture
def credentials(stranded: tuple[FastAPI, str]) -> dict[str, str]:
    return bearer(stranded[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_a_stop_ends_websockets_and_streams_and_returns_in_time(
    app: FastAPI, credentials: dict[str, str]
) -> None:
    stop, port = asyncio.Event(), free_port()
    serving = asyncio.create_task(serve(app, host="127.0.0.1", port=port, stop=stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=credentials) as client:
        await _until_healthy(client)
        async with connect(f"ws://127.0.0.1:{port}/api/v1/live", additional_headers=credentials) as live:
            await live.recv()
            async with client.stream("GET", "/api/v1/live/events") as events:
                lines = events.aiter_lines()
                await anext(lines)
                started_at = time.monotonic()
                stop.set()
                async with asyncio.timeout(8):
                    async for _ in lines:
                        pass
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(8):
                    while True:
                        await live.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    async with asyncio.timeout(8):
        await serving
    assert time.monotonic() - started_at < 8


async def test_a_taken_port_is_said_in_one_line(app: FastAPI) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingInvalid, match=f"WATTAWAY_API_PORT.*127.0.0.1:{port}"):
            await serve(app, host="127.0.0.1", port=port, stop=asyncio.Event())


async def test_who_reads_slowly_but_steadily_gets_the_whole_answer(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 1.0)
    large = bytes(10_000_000)
    app.add_api_route("/large", lambda: Response(large))
    stop, port = asyncio.Event(), free_port()
    serving = asyncio.create_task(serve(app, host="127.0.0.1", port=port, stop=stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await _until_healthy(client)
    received_bytes = await asyncio.to_thread(_read_slowly, port, "/large")
    assert received_bytes > len(large)
    stop.set()
    await serving


def _read_slowly(port: int, path: str) -> int:
    """How many bytes of an answer come to a client that reads up to 2.5 MB/s."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received_bytes = 0
        while piece := client.recv(50_000):
            received_bytes += len(piece)
            time.sleep(0.02)
    return received_bytes


def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    with (
        _listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_metrics_go_on_without_a_role_that_is_down(app: FastAPI, credentials: dict[str, str]) -> None:
    await app.state.services.deciding.follower.catch_up()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=credentials) as client:
        page = (await client.get("/metrics")).text
    assert 'wattaway_api_metrics_source_up{source="bridge"} 0.0' in page


async def _until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)
