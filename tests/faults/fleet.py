"""Load for the fault tests: the simulator's sockets in a thread, so that a test can kill things meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from ops.simulator.fleet import Fleet, SimulationPlan, SimulationReport, device_kinds
from ops.simulator.socket_device import Endpoint, LinkTiming, Tally
from tests.servers import World

_IMPATIENT = LinkTiming(
    first_backoff_s=0.2, longest_backoff_s=1.0, connect_timeout_s=5.0, resend_after_s=6.0, keep_alive_s=4
)
_DRAIN_S = 60.0


class ReadingId(NamedTuple):
    """What identifies a reading forever."""

    device_id: str
    boot: str
    seq: int


class Load:
    """Sockets that measure at a steady pace and keep every reading until its receipt.

    `with Load(…) as load:` starts them; leaving ends the measuring and waits for a receipt for each reading.
    """

    def __init__(self, world: World, *, sockets: int, interval_s: float) -> None:
        plan = SimulationPlan(
            sockets,
            interval_s=interval_s,
            drain_s=_DRAIN_S,
            id_prefix=f"load{secrets.token_hex(2)}-{world.marker}",
            timing=_IMPATIENT,
        )
        settings = world.settings
        self._endpoint = Endpoint(settings.mqtt_host, settings.mqtt_port)
        self._plan = plan
        self._boots = {device_id: secrets.token_hex(4) for device_id, _ in device_kinds(plan)}
        self._thread = threading.Thread(target=self._run, name="load")
        self._fleet: Fleet | None = None
        self._begun = threading.Event()
        self._report: SimulationReport | None = None
        self._tokens = world.servers.admit(self._boots)

    @property
    def device_ids(self) -> list[str]:
        return list(self._boots)

    @property
    def ids(self) -> set[ReadingId]:
        """Everything it measured; all of it is receipted once the load is over."""
        assert self._fleet is not None
        return {
            ReadingId(device.device_id, device.boot, seq)
            for device in self._fleet.devices
            for seq in range(device.measured)
        }

    @property
    def tally(self) -> Tally:
        assert self._fleet is not None
        return self._fleet.tally

    def wait_for_receipts(self, count: int, *, within_s: float = 60) -> None:
        """Return once so many more readings are receipted than now."""
        goal, deadline = self.tally.receipted + count, time.monotonic() + within_s
        while self.tally.receipted < goal:
            assert time.monotonic() < deadline, f"no {count} receipts within {within_s} s: {self.tally}"
            assert self._thread.is_alive(), "the load broke; see the thread's error"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._fleet is not None
        stop = partial(self._fleet.stop, drain_s=_DRAIN_S if error is None else 0.0)
        with suppress(RuntimeError):  # Its loop is closed: the load broke, and its thread has said why.
            self._loop.call_soon_threadsafe(stop)
        self._thread.join()
        if error is None:
            assert self._report is not None
            assert self._report.complete, f"without receipt: {self._report}"

    def _run(self) -> None:
        self._report = asyncio.run(self._simulate())

    async def _simulate(self) -> SimulationReport:
        self._loop = asyncio.get_running_loop()
        self._fleet = Fleet(self._plan, self._endpoint, self._tokens.__getitem__, boot_of=self._boots.__getitem__)
        self._begun.set()
        return await self._fleet.run()
