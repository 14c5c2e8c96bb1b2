"""Real firmwares as a load: what one costs this machine, and what a fleet of them delivers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.asyncio import Redis

from ops.bench.load import stored_readings
from ops.bench.ways import Way
from ops.firmware.fleet import FirmwareFleet, FirmwareFleetPlan
from ops.firmware.sim_run import prepare
from ops.status import devices_online

_ONLINE_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class FirmwareRun:
    """What was measured of `sockets` firmwares, of which `online` were connected.

    PSS counts a page that several processes share once among all of them.
    """

    sockets: int
    online: int
    readings_per_s: float
    rss_kib: float
    pss_kib: float
    cpu_percent: float
    crashes: int


async def run_firmwares(way: Way, sockets: int, seconds: float) -> FirmwareRun:
    """Start a fleet at a reading a second, and once it is online measure it for so long."""
    settings = way.settings
    folders = await asyncio.to_thread(
        prepare, settings, FirmwareFleetPlan(sockets, interval_s=1.0, id_prefix="bench-fw")
    )
    fleet = FirmwareFleet(folders)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.run())
        try:
            online = await _online(way, sockets)
            before, cpu_before_s = await asyncio.to_thread(stored_readings, way), _cpu_s(fleet.pids)
            await asyncio.sleep(seconds)
            after, cpu_after_s = await asyncio.to_thread(stored_readings, way), _cpu_s(fleet.pids)
            memory = [_memory_kib(pid) for pid in fleet.pids]
        finally:
            fleet.stop()
    count = max(1, len(memory))
    return FirmwareRun(
        sockets,
        online,
        (after - before) / seconds,
        sum(rss for rss, _ in memory) / count,
        sum(pss for _, pss in memory) / count,
        (cpu_after_s - cpu_before_s) / seconds * 100,
        fleet.crashes,
    )


async def _online(way: Way, sockets: int) -> int:
    """How many are connected, once all are or after two minutes."""
    settings, online = way.settings, 0
    async with Redis.from_url(settings.resolved_redis_url()) as redis:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ONLINE_WITHIN_S):
                while (online := await devices_online(redis, settings.redis_prefix) or 0) < sockets:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_EVERY_S)
    return online


def _cpu_s(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            used = psutil.Process(pid).cpu_times()
            total += used.user + used.system
    return total


def _memory_kib(pid: int) -> tuple[float, float]:
    """RSS and PSS."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = float(value.split()[0])
    return fields["Rss"], fields["Pss"]
