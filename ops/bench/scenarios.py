"""What is measured on a running way: sustained load, latency, the API, a rebuild."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from ops.bench.generator import LoadPlan
from ops.bench.http_load import HttpRun, get_at_rate
from ops.bench.latency import percentile, watched
from ops.bench.load import LoadRun, background_load, run_load, stored_readings
from ops.bench.results import BenchReport, Better, Figure
from ops.bench.ways import Way
from ops.child import Child

SUSTAINED_GOAL_PER_S = {"embedded": 20_000.0, "stack": 8_000.0}
REBUILD_GOAL_PER_S = 60_000.0
LATENCY_GOAL_MS = 100.0
LATENCY_RATE_PER_S = 5_000.0
LATEST_GOAL_MS = 10.0
LATEST_PER_S = 500.0
SERIES_PER_S = 50.0
LIST_READINGS = 300
DAY_READINGS = 8_640
_LOAD_DURING_API_PER_S = 2_000.0
_REBUILD_WITHIN_S = 180.0


@dataclass(frozen=True)
class Scale:
    """How long things are measured, and how wide the fleet is."""

    seconds: float = 15.0
    devices: int = 100
    burst: int = 4


class Scenarios:
    """The scenarios on one way; each adds its figures to the report.

    Args:
        roles: the engine's processes by name; with the servers' they are what CPU is counted of.
    """

    def __init__(self, way: Way, roles: Mapping[str, Child], scale: Scale, report: BenchReport) -> None:
        self._way, self._scale, self._report = way, scale, report
        self._processes = {**way.servers, **roles}
        self.device_ids = [f"bench-{number:05d}" for number in range(scale.devices)]

    async def sustained(self) -> float:
        """Single readings as fast as they become visible; readings a second."""
        run = await run_load(self._way, self._plan(burst=self._scale.burst), self._processes)
        self._note_cpu("single", run)
        self._add(
            "sustained end to end, single readings",
            run.per_s,
            "/s",
            goal=SUSTAINED_GOAL_PER_S[self._way.name],
            note=_loss_note(run) or f"{run.stored:,} sent, all of them in SQL and in Redis",
        )
        return run.per_s

    async def backlog(self) -> None:
        """The same with lists, as after an outage."""
        plan = self._plan(per_message=LIST_READINGS, step_ms=100, window=60_000)
        run = await run_load(self._way, plan, self._processes)
        self._note_cpu("lists", run)
        name = f"sustained end to end, backlog lists of {LIST_READINGS}"
        self._add(name, run.per_s, "/s", note=_loss_note(run))

    async def latency(self, rate_per_s: float, name: str, goal_ms: float | None) -> None:
        """From sending to the live channel, at a steady rate."""
        boot = secrets.token_hex(4)
        plan = self._plan(boot=boot, rate_per_s=rate_per_s)
        async with watched(self._way, boot) as watch:
            run = await run_load(self._way, plan, self._processes)
        self._note_cpu(f"{rate_per_s:,.0f}/s", run)
        self._add(f"CPU per reading at {name}", sum(run.cpu_us.values()), "µs", better="lower", note="all processes")
        achieved = run.sent / run.sending_s if run.sending_s else 0.0
        latencies_ms = watch.latencies_ms(self.device_ids, run.ticks)
        seen = f"{len(latencies_ms):,} of {run.sent:,} seen at {achieved:,.0f}/s; {_loss_note(run)}".rstrip("; ")
        for percent in (50, 99):
            goal = goal_ms if percent == 99 else None
            value = percentile(latencies_ms, percent)
            self._add(f"p{percent} publish → visible at {name}", value, "ms", goal=goal, better="lower", note=seen)

    async def api(self) -> None:
        """`latest` and a day's series, alone and while readings come in."""
        await run_load(self._way, self._plan(readings=len(self.device_ids)), self._processes)
        day_device, paths = await self._a_day_of_readings()
        latest = [f"/api/v1/devices/{device_id}/latest" for device_id in (*self.device_ids[:50], day_device)]
        plan = self._plan(rate_per_s=_LOAD_DURING_API_PER_S, seconds=600)
        await self._gets("latest", latest, LATEST_PER_S, LATEST_GOAL_MS, "")
        await self._gets("a day's series", paths, SERIES_PER_S, None, "")
        async with background_load(self._way, plan):
            await asyncio.sleep(1)
            loaded = f" with {_LOAD_DURING_API_PER_S:,.0f} readings/s coming in"
            await self._gets("latest", latest, LATEST_PER_S, LATEST_GOAL_MS, loaded)
            await self._gets("a day's series", paths, SERIES_PER_S, None, loaded)

    async def rebuild(self) -> None:
        """`wattaway rebuild` of all that the bench has sent; events a second, its start included."""
        count = await asyncio.to_thread(stored_readings, self._way)
        command = [sys.executable, "-m", "ops.cli", "rebuild"]
        started_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command, env=self._way.process_env(), stdout=asyncio.subprocess.PIPE
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _REBUILD_WITHIN_S)
        except TimeoutError:
            process.kill()
            said, _ = await process.communicate()
        value = count / (time.monotonic() - started_s) if process.returncode == 0 else None
        note = " ".join(said.decode().split()) if value else f"it ended with {process.returncode}"
        self._add("rebuild, its start included", value, "events/s", goal=REBUILD_GOAL_PER_S, note=note)

    async def _gets(self, what: str, paths: list[str], rate_per_s: float, goal_ms: float | None, loaded: str) -> None:
        settings = self._way.settings
        run = await get_at_rate(
            settings.api_host, settings.api_port, paths, rate_per_s=rate_per_s, seconds=self._scale.seconds / 2
        )
        name = f"API p99 of {what} at {rate_per_s:,.0f}/s{loaded}"
        value = percentile(run.latencies_ms, 99)
        self._add(name, value, "ms", goal=goal_ms, better="lower", note=_http_note(run))

    async def _a_day_of_readings(self) -> tuple[str, list[str]]:
        """Give one device a day of history; its id and the paths of its series."""
        device_id = f"bench-day-{secrets.token_hex(2)}"
        self._way.admit([device_id])
        plan = self._plan(
            tokens=self._way.tokens([device_id]),
            per_message=240,
            step_ms=86_400_000 // DAY_READINGS,
            readings=DAY_READINGS,
            seconds=30,
        )
        await run_load(self._way, plan, self._processes)
        now = datetime.now(UTC)
        path = f"/api/v1/devices/{device_id}/readings"
        day = {"from": (now - timedelta(days=1)).isoformat(), "to": now.isoformat()}
        return device_id, [f"{path}?{urlencode({**day, 'resolution': which})}" for which in ("auto", "raw", "15m")]

    def _plan(
        self,
        *,
        tokens: dict[str, str] | None = None,
        boot: str = "",
        seconds: float = 0,
        rate_per_s: float = 0,
        per_message: int = 1,
        window: int = 20_000,
        step_ms: int = 1000,
        readings: int = 0,
        burst: int = 1,
    ) -> LoadPlan:
        return LoadPlan(
            host=self._way.settings.mqtt_host,
            port=self._way.settings.mqtt_port,
            boot=boot or secrets.token_hex(4),
            tokens=tokens or self._way.tokens(self.device_ids),
            seconds=seconds or self._scale.seconds,
            rate_per_s=rate_per_s,
            per_message=per_message,
            window=window,
            step_ms=step_ms,
            readings=readings,
            burst=burst,
        )

    def _note_cpu(self, scenario: str, run: LoadRun) -> None:
        self._report.cpu_us_per_reading[f"{self._way.name} {scenario}"] = run.cpu_us

    def _add(
        self,
        name: str,
        value: float | None,
        unit: str,
        *,
        goal: float | None = None,
        better: Better = "higher",
        note: str,
    ) -> None:
        self._report.add(Figure(self._way.name, name, value, unit, goal=goal, better=better, note=note))


def _loss_note(run: LoadRun) -> str:
    if run.stored != run.sent:
        return f"{run.stored:,} rows in SQL of {run.sent:,} sent"
    return "" if run.visible >= run.sent else f"only {run.visible:,} of {run.sent:,} became visible"


def _http_note(run: HttpRun) -> str:
    p50 = percentile(run.latencies_ms, 50)
    failed = f", {run.failures} failed" if run.failures else ""
    return f"p50 {p50:.1f} ms, {run.per_s:,.0f}/s{failed}" if p50 is not None else f"no answer{failed}"
