"""Serve the app with uvicorn until told to stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.services import Services
from domain.errors import SettingInvalid

DRAIN_TIMEOUT_S = 5
STALLED_AFTER_S = 30.0
_MOST_UNSENT_BYTES = 64 * 1024


class Certificate(NamedTuple):
    """What TLS shows: PEM files of the chain and of the private key."""

    chain: Path
    key: Path


async def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    stop: asyncio.Event,
    certificate: Certificate | None = None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Listen on `host`:`port` until `stop`, then let requests end and live clients go.

    Args:
        certificate: speak TLS with it; None: plain HTTP.
        trusted_proxies: addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    Raises:
        SettingInvalid: the address is taken or may not be used, or the certificate cannot be.
    """
    if certificate is not None:
        _check(certificate)
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=_Http,
        ws=_WebSockets,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ssl_certfile=None if certificate is None else certificate.chain,
        ssl_keyfile=None if certificate is None else certificate.key,
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


class _Http(HttpToolsProtocol):
    """Lets a client go that has not read for `STALLED_AFTER_S`: a live stream, most of all, would never end."""

    _stalls: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_less_than(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reads()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._reads()

    def _expect_less_than(self, unread_bytes: int) -> None:
        self._stalls = self.loop.call_later(STALLED_AFTER_S, self._judge, unread_bytes)

    def _judge(self, unread_before: int) -> None:
        """Nothing is added while writing is paused, so whatever there is less was read, however slowly."""
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes < unread_before:
            self._expect_less_than(unread_bytes)
        else:
            self.transport.abort()

    def _reads(self) -> None:
        if self._stalls is not None:
            self._stalls.cancel()


class _WebSockets(WebSocketsSansIOProtocol):
    """A refusal is an answer, too: uvicorn logs an error after each, as if the app had said nothing."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True


class _Server(uvicorn.Server):
    """Signals belong to whoever calls `serve`."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingInvalid(
            f"WATTAWAY_API_HOST, WATTAWAY_API_PORT: cannot listen on {host}:{port} ({error.strerror}); "
            "is another program there?"
        ) from error
    # Connections inherit it. asyncio's own loop leaves it out for a socket that was made without a protocol number,
    # and an answer's body then waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Inherited, too. Else the kernel takes megabytes at once, then nothing for minutes, however steadily one reads.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT_BYTES)
    return listener


def _check(certificate: Certificate) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.chain, certificate.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingInvalid(
            f"WATTAWAY_API_TLS_CERTIFICATE, WATTAWAY_API_TLS_KEY: {certificate.chain} with {certificate.key}: {error}"
        ) from error


async def _wait_for_stop(app: FastAPI, server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    services: Services = app.state.services
    # Live streams never end by themselves, and uvicorn waits for every stream.
    services.feed.close()
    server.should_exit = True
