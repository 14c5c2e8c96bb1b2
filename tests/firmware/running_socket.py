"""A MicroPython process that measures and delivers, seen from outside: what it stored, and how its delivery goes."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.firmware.micropython import SIM, FirmwareFailed, command, environment

IMPATIENT = {"answer_ms": 2500, "resend_ms": 4000, "sync_wait_ms": 5000}


@dataclass
class SocketPlan:
    """What every boot of one socket has in common."""

    device_id: str
    token: str
    port: int
    ntp: list[tuple[str, int]]
    flash_dir: Path
    interval_ms: int = 50
    patience: dict[str, int] = field(default_factory=lambda: dict(IMPATIENT))
    server: dict[str, Any] = field(default_factory=dict)

    def write(self, backlog: int) -> Path:
        """Return the file that says it; MicroPython takes no argument of more than 255 bytes."""
        login = {"host": "127.0.0.1", "port": self.port, "device_id": self.device_id, "token": self.token}
        members = {
            "server": {**login, "ntp": self.ntp, **self.server},
            "patience": self.patience,
            "flash_dir": str(self.flash_dir),
            "interval_ms": self.interval_ms,
            "backlog": backlog,
        }
        path = self.flash_dir / "plan.json"
        path.write_text(json.dumps(members))
        return path


class RunningSocket:
    """One boot.

    Attributes:
        stored: (boot, seq) of each reading, in order; what is in here was safe in flash.
        up_ms: of each of these, the uptime before and after it was stored, as the firmware says.
        began_ms: when it was switched on, in ms since 1970.
        state: what it said last about its delivery.
        said: everything that was no JSON, such as a traceback.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.stored: list[tuple[int, int]] = []
        self.up_ms: list[tuple[int, int]] = []
        self.began_ms = time.time_ns() // 1_000_000
        self.state: dict[str, Any] = {"pending": 0, "told": [0, 0, None], "now": None, "sent": 0}
        self.said: list[str] = []
        self._reading = asyncio.ensure_future(self._read())

    @property
    def connections(self) -> int:
        return int(self.state["told"][0])

    @property
    def receipts(self) -> int:
        return int(self.state["told"][1])

    async def until(self, holds: Any, within_s: float = 40) -> None:
        """Return once `holds(self)`."""
        try:
            async with asyncio.timeout(within_s):
                while not holds(self):
                    if self._reading.done():
                        raise FirmwareFailed(f"ended: {self.state} {self.said}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise FirmwareFailed(f"not within {within_s} s: {self.state} {len(self.stored)} {self.said}") from None

    async def cut_power(self) -> None:
        """SIGKILL: nothing more is written to its flash."""
        self.process.kill()
        await self.process.wait()
        await self._reading

    async def finish(self, within_s: float = 60) -> dict[str, Any]:
        """Stop measuring; what it says in the end, once every reading has its receipt."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"stop\n")
        try:
            await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            raise FirmwareFailed(f"not receipted within {within_s} s: {self.state} {self.said}") from None
        await self._reading
        if not self.state.get("ended"):
            raise FirmwareFailed("\n".join(self.said))
        return self.state

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if not line.startswith(b"{") or not line.endswith(b"}\n"):
                self.said.append(line.decode(errors="replace"))
                continue
            told = json.loads(line)
            if "seq" in told:
                self.stored.append((told["boot"], told["seq"]))
                self.up_ms.append((told["up"][0], told["up"][1]))
            else:
                self.state = told


@asynccontextmanager
async def running_socket(plan: SocketPlan, *, backlog: int = 0) -> AsyncIterator[RunningSocket]:
    """A socket that has been switched on; off again in the end."""
    process = await asyncio.create_subprocess_exec(
        *command(SIM / "deliver.py", str(plan.write(backlog))),
        env=environment(),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
    )
    socket = RunningSocket(process)
    try:
        yield socket
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await socket._reading
