"""Serve the app with uvicorn until told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from api.services import Services
from domain.errors import SettingInvalid

DRAIN_TIMEOUT_S = 5


async def serve(app: FastAPI, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Listen on `host`:`port` until `stop`, then let requests end and live clients go.

    Raises:
        SettingInvalid: the address is taken or may not be used.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        timeout_keep_alive=30,
        ws_ping_interval=20,
        ws_max_size=64 * 1024,
        # Compressing every batch anew for every viewer would cost more than sending it.
        ws_per_message_deflate=False,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(_wait_for_stop(app, server, stop))
        await server.serve(sockets=[listener])
        stopping.cancel()


class _Server(uvicorn.Server):
    """Signals belong to whoever calls `serve`."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingInvalid(
            f"WATTAWAY_API_HOST, WATTAWAY_API_PORT: cannot listen on {host}:{port} ({error.strerror}); "
            "is another program there?"
        ) from error


async def _wait_for_stop(app: FastAPI, server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    services: Services = app.state.services
    # Live streams never end by themselves, and uvicorn waits for every stream.
    services.feed.close()
    server.should_exit = True
