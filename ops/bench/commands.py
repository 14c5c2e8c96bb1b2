"""How long from a request until the socket acts: asked for as the API does, measured at simulated sockets."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from domain.command_wire import WireCommand
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Order
from ops.application import Application, open_application
from ops.bench.ways import Way
from ops.simulator.socket_device import Endpoint, SocketDevice, Tally

SOCKETS = 20
COMMANDS_PER_S = 20.0
_ACT_WITHIN_S = 20.0


class CommandWatch:
    """When each command was asked for, and when its socket acted."""

    def __init__(self) -> None:
        self._asked_s: dict[str, float] = {}
        self._acted_s: dict[str, float] = {}
        self._acted = asyncio.Event()

    def ask(self, application: Application, device_id: str, relay: bool) -> None:
        """Ask for one command. Blocking."""
        asked_s = time.perf_counter()
        cause = Cause(datetime.now(UTC), "system:bench", str(uuid4()))
        asked = application.sockets.request(device_id, Order("switch", relay=relay), cause)
        self._asked_s[asked.command_id] = asked_s

    def act(self, command: WireCommand) -> None:
        """A socket does it."""
        self._acted_s[command.id] = time.perf_counter()
        self._acted.set()

    async def all_done(self, count: int) -> None:
        """Return once so many were done, or it takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACT_WITHIN_S):
                while len(self._acted_s) < count:
                    self._acted.clear()
                    await self._acted.wait()

    def latencies_ms(self) -> list[float]:
        """Of every command that was done."""
        return [(at_s - self._asked_s[one]) * 1000 for one, at_s in self._acted_s.items() if one in self._asked_s]


async def command_latencies(way: Way, seconds: float) -> tuple[list[float], int]:
    """Milliseconds from request to act, and how many commands were asked for."""
    watch = CommandWatch()
    device_ids = [f"command-{secrets.token_hex(2)}-{number:02d}" for number in range(SOCKETS)]
    count = max(int(seconds * COMMANDS_PER_S), SOCKETS)
    async with _sockets(way, device_ids, watch):
        with open_application(way.settings) as application:
            started_s = time.monotonic()
            asking = []
            for number in range(count):
                await asyncio.sleep(started_s + number / COMMANDS_PER_S - time.monotonic())
                ask = partial(watch.ask, application, device_ids[number % SOCKETS], number // SOCKETS % 2 == 1)
                asking.append(asyncio.ensure_future(asyncio.to_thread(ask)))
            await asyncio.gather(*asking)
            await watch.all_done(count)
    return watch.latencies_ms(), count


@asynccontextmanager
async def _sockets(way: Way, device_ids: Sequence[str], watch: CommandWatch) -> AsyncIterator[None]:
    """Sockets that are online and obey."""
    tokens = await asyncio.to_thread(way.tokens, device_ids)
    gate, tally = asyncio.Semaphore(SOCKETS), Tally()
    devices = [
        SocketDevice(
            device_id,
            token=tokens[device_id],
            boot=secrets.token_hex(4),
            endpoint=Endpoint(way.settings.mqtt_host, way.settings.mqtt_port),
            gate=gate,
            tally=tally,
            on_act=watch.act,
        )
        for device_id in device_ids
    ]
    links = [asyncio.ensure_future(device.stay_connected()) for device in devices]
    try:
        async with asyncio.timeout(_ACT_WITHIN_S):
            while not all(device.online for device in devices):  # noqa: ASYNC110 - no one tells
                await asyncio.sleep(0.05)
        yield
    finally:
        for link in links:
            link.cancel()
        await asyncio.wait(links)
