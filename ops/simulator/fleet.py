"""A fleet of virtual sockets: measures, sends, drains and says what became of every reading."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import structlog

from domain.clock import Clock, SystemClock
from domain.command_wire import WireCommand
from domain.wire import encode_data
from ops.simulator.appliances import APPLIANCES
from ops.simulator.metering import MeteredSocket
from ops.simulator.socket_device import Endpoint, LinkTiming, SocketDevice, Tally

log = structlog.get_logger()

MOST_CONNECTING = 60
"""More at once overflow a broker's accept queue."""
PROGRESS_EVERY_S = 10.0
LOOK_EVERY_S = 2.0
"""How soon a new interval counts."""
STOPPED_DRAIN_S = 6.0
"""Who says stop expects an end within 10 s."""


@dataclass(frozen=True)
class SimulationPlan:
    """What to simulate.

    Args:
        sockets: how many.
        interval_s: between two readings of one socket.
        seed: equal seeds give equal sockets in equal homes.
        duration_s: stop measuring after so long (None: until stopped).
        readings: stop each socket after so many (None: no limit).
        drain_s: how long to wait for the last receipts.
    """

    sockets: int
    interval_s: float = 5.0
    seed: int = 1
    duration_s: float | None = None
    readings: int | None = None
    drain_s: float = 20.0
    id_prefix: str = "sim"
    timing: LinkTiming = field(default_factory=LinkTiming)


@dataclass(frozen=True)
class SimulationReport:
    """What became of the readings."""

    sockets: int
    measured: int
    sent: int
    pubacked: int
    receipted: int
    outstanding: int
    resent: int
    connections: int
    refusals: int
    last_refusal: str
    seconds: float
    energy_mwh: dict[str, int] = field(repr=False)
    """The lifetime counters as they stand, by device id: the next simulation goes on from them."""

    @property
    def complete(self) -> bool:
        """Every reading was receipted."""
        return self.outstanding == 0


class Fleet:
    """The sockets of one simulation.

    Args:
        token_of: the MQTT password of a device id.
        energy_mwh: lifetime counters to go on from, by device id.
        remember: called now and then with the lifetime counters, to store them.
        left_out: device ids of the plan that do not take part.
        boot_of: 8 hex digits for a device id; by default random, as at each start of a real socket.
    """

    def __init__(
        self,
        plan: SimulationPlan,
        endpoint: Endpoint,
        token_of: Callable[[str], str],
        *,
        left_out: Container[str] = (),
        energy_mwh: dict[str, int] | None = None,
        remember: Callable[[dict[str, int]], None] = lambda _counters: None,
        boot_of: Callable[[str], str] = lambda _device_id: secrets.token_hex(4),
        clock: Clock | None = None,
    ) -> None:
        self._plan, self._clock = plan, clock or SystemClock()
        self._remember, self._started_s = remember, time.monotonic()
        self.tally = Tally()
        self._stop, self._stopped_drain_s = asyncio.Event(), STOPPED_DRAIN_S
        self._endpoint, self._token_of, self._boot_of = endpoint, token_of, boot_of
        self._gate = asyncio.Semaphore(MOST_CONNECTING)
        self._meters: dict[str, MeteredSocket] = {}
        self.energy_mwh: dict[str, int] = {}
        for device_id, kind in device_kinds(plan):
            if device_id not in left_out:
                self._plug_in(device_id, kind, energy_mwh or {})
        self.devices = [self._new_device(device_id) for device_id in self._meters]
        self._by_id = {device.device_id: device for device in self.devices}

    def _plug_in(self, device_id: str, kind: str, counters: dict[str, int]) -> None:
        seed = f"{self._plan.seed} {device_id}"
        counter = counters.get(device_id, lifetime_energy_mwh(seed))
        self.energy_mwh[device_id] = counter
        now_ms = self._clock.now_ms()
        self._meters[device_id] = MeteredSocket(kind, seed=seed, start_ms=now_ms, energy_mwh=counter)

    def _new_device(self, device_id: str) -> SocketDevice:
        return SocketDevice(
            device_id,
            token=self._token_of(device_id),
            boot=self._boot_of(device_id),
            endpoint=self._endpoint,
            gate=self._gate,
            tally=self.tally,
            timing=self._plan.timing,
            clock=self._clock,
            on_act=partial(self._obey, device_id),
        )

    def _obey(self, device_id: str, command: WireCommand) -> None:
        if command.type in ("switch", "toggle"):
            self._meters[device_id].switch(self._by_id[device_id].obedience.relay, self._clock.now_ms())

    def _interval_s(self, device: SocketDevice) -> float:
        interval_ms = device.obedience.config.interval_ms
        return self._plan.interval_s if interval_ms is None else interval_ms / 1000

    def stop(self, *, drain_s: float = STOPPED_DRAIN_S) -> None:
        """Measure no more; `run` then waits so long for the last receipts and returns."""
        self._stopped_drain_s = drain_s
        self._stop.set()

    async def run(self) -> SimulationReport:
        """Measure until the plan is done or `stop`, wait for the last receipts, disconnect; what came of it."""
        async with asyncio.TaskGroup() as tasks:
            links = [tasks.create_task(device.stay_connected()) for device in self.devices]
            progress = tasks.create_task(self._show_progress())
            await self._measure()
            await self._drain()
            for task in (*links, progress):
                task.cancel()
        return self.report()

    def report(self) -> SimulationReport:
        tally = self.tally
        return SimulationReport(
            sockets=len(self.devices),
            measured=tally.measured,
            sent=tally.sent,
            pubacked=tally.pubacked,
            receipted=tally.receipted,
            outstanding=self.outstanding(),
            resent=sum(device.outbox.resent for device in self.devices),
            connections=tally.connections,
            refusals=tally.refusals,
            last_refusal=tally.last_refusal,
            seconds=time.monotonic() - self._started_s,
            energy_mwh=dict(self.energy_mwh),
        )

    def outstanding(self) -> int:
        """Readings without a receipt."""
        return sum(len(device.outbox) for device in self.devices)

    async def _measure(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            meters = [tasks.create_task(self._measure_one(device)) for device in self.devices]
            all_measured = tasks.create_task(asyncio.wait(meters))
            stop = tasks.create_task(self._stop.wait())
            endings: set[asyncio.Task[Any]] = {all_measured, stop}
            await asyncio.wait(endings, timeout=self._plan.duration_s, return_when=asyncio.FIRST_COMPLETED)
            for task in (*endings, *meters):
                task.cancel()

    async def _measure_one(self, device: SocketDevice) -> None:
        """Readings at a steady pace from a random phase on, whether there is a connection or not."""
        plan, loop = self._plan, asyncio.get_running_loop()
        meter, seq, at_ms = self._meters[device.device_id], 0, 0
        phase_s = Random(device.device_id).random() * min(plan.interval_s, 5.0)  # noqa: S311 - spreads the fleet
        last_s = loop.time() + phase_s - plan.interval_s
        while plan.readings is None or seq < plan.readings:
            left_s = last_s + self._interval_s(device) - loop.time()
            await asyncio.sleep(min(left_s, LOOK_EVERY_S))
            if left_s > LOOK_EVERY_S:
                continue
            at_ms = max(at_ms + 1, self._clock.now_ms())
            reading = meter.read(device.boot, seq, at_ms)
            self.energy_mwh[device.device_id] = reading.energy_mwh or 0
            device.offer(seq, encode_data([reading]))
            seq += 1
            interval_s = self._interval_s(device)
            last_s = max(last_s + interval_s, loop.time() - 2 * interval_s)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            limit_s = min(self._plan.drain_s, self._stopped_drain_s) if self._stop.is_set() else self._plan.drain_s
            async with asyncio.timeout(limit_s):
                while self.outstanding():
                    self.tally.settled.clear()
                    await self.tally.settled.wait()

    async def _show_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            self._remember(self.energy_mwh)
            online = sum(device.online for device in self.devices)
            tally = self.tally
            log.info(
                "simulation goes on",
                online=online,
                sent=tally.sent,
                pubacked=tally.pubacked,
                receipted=tally.receipted,
                outstanding=self.outstanding(),
                refused=tally.last_refusal or None,
            )


def device_kinds(plan: SimulationPlan) -> list[tuple[str, str]]:
    """The plan's device ids and what each of them feeds."""
    kinds = list(APPLIANCES)
    return [
        (f"{plan.id_prefix}-{kinds[number % len(kinds)]}-{number + 1:04d}", kinds[number % len(kinds)])
        for number in range(plan.sockets)
    ]


def lifetime_energy_mwh(seed: str) -> int:
    """What a socket's counter shows that has been in use for a while: up to 800 kWh."""
    return Random(f"lifetime {seed}").randrange(800_000_000)  # noqa: S311 - a model, not a secret
