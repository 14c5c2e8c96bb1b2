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

from ops.bench.access_rates import AccessRates
from ops.bench.commands import command_latencies
from ops.bench.firmwares import run_firmwares
from ops.bench.generator import LoadPlan
from ops.bench.http_load import HttpRun, get_at_rate
from ops.bench.latency import percentile, watched
from ops.bench.load import LoadRun, background_load, run_load, stored_readings
from ops.bench.processes import cpu_seconds
from ops.bench.reader import new_reader
from ops.bench.results import BenchReport, Better, Figure
from ops.bench.ways import Way
from ops.child import Child

SUSTAINED_GOAL_PER_S = {"embedded": 20_000.0, "stack": 8_000.0}
REBUILD_GOAL_PER_S = 60_000.0
LATENCY_GOAL_MS = 100.0
LATENCY_RATE_PER_S = 5_000.0
LATEST_GOAL_MS = 10.0
COMMAND_P50_GOAL_MS, COMMAND_P99_GOAL_MS = 50.0, 150.0
LATEST_PER_S = 500.0
SERIES_PER_S = 50.0
LIST_READINGS = 300
DAY_READINGS = 8_640
_LOAD_DURING_API_PER_S = 2_000.0
_REBUILD_WITHIN_S = 180.0
FIRMWARES = 200


@dataclass(frozen=True)
class Scale:
    """How long things are measured, how wide the fleet is, and how many do the work."""

    seconds: float = 15.0
    devices: int = 100
    burst: int = 4
    partitions: int = 4
    projectors: int = 1


class Scenarios:
    """The scenarios on one way; each adds its figures to the report.

    Args:
        roles: the engine's processes by name; with the servers' they are what CPU is counted of.
    """

    def __init__(self, way: Way, roles: Mapping[str, Child], scale: Scale, report: BenchReport) -> None:
        self._way, self._scale, self._report = way, scale, report
        self._processes = {**way.servers, **roles}
        self._api_token = ""
        self.device_ids = [f"bench-{number:05d}" for number in range(scale.devices)]

    async def rest(self) -> None:
        """What it all costs while nothing happens."""
        before = cpu_seconds(self._processes)
        await asyncio.sleep(self._scale.seconds)
        after = cpu_seconds(self._processes)
        percent = {name: (after[name] - before[name]) / self._scale.seconds * 100 for name in before if name in after}
        most = sorted(percent, key=percent.__getitem__, reverse=True)
        note = ", ".join(f"{name} {percent[name]:.1f}" for name in most if percent[name] >= 0.5)
        self._add("CPU at rest, all processes", sum(percent.values()), "% of a core", better="lower", note=note)

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
        self._api_token = (await asyncio.to_thread(new_reader, self._way.settings)).api_token
        latest = [f"/api/v1/devices/{device_id}/latest" for device_id in (*self.device_ids[:50], day_device)]
        plan = self._plan(rate_per_s=_LOAD_DURING_API_PER_S, seconds=600)
        await self._gets("latest", latest, LATEST_PER_S, LATEST_GOAL_MS, "")
        await self._gets("a day's series", paths, SERIES_PER_S, None, "")
        async with background_load(self._way, plan):
            await asyncio.sleep(1)
            loaded = f" with {_LOAD_DURING_API_PER_S:,.0f} readings/s coming in"
            await self._gets("latest", latest, LATEST_PER_S, LATEST_GOAL_MS, loaded)
            await self._gets("a day's series", paths, SERIES_PER_S, None, loaded)

    async def access(self) -> None:
        """Sign-ins and authorized reads, as often as they are answered; each next to its floor."""
        await run_load(self._way, self._plan(readings=len(self.device_ids)), self._processes)
        reader = await asyncio.to_thread(new_reader, self._way.settings)
        path = f"/api/v1/devices/{self.device_ids[0]}/latest"
        rates = AccessRates(self._way.settings, self._processes["api"], reader, path, self._scale.seconds / 2)
        floor, *reads = await rates.reads()
        for read in (floor, *reads):
            note = f"{read.cpu_us:,.0f} µs CPU of the API's, {read.cpu_us / floor.cpu_us:.2f} × the floor's; "
            self._add(
                f"API requests: {read.name}",
                read.run.per_s,
                "/s",
                note=note + _http_note(read.run),
                floor=floor.run.per_s,
            )
        hashes_per_s = await asyncio.to_thread(rates.bare_hashes_per_s)
        signed_in = await rates.sign_ins()
        note = f"{signed_in.cpu_us / 1000:,.0f} ms CPU of the API's; {_http_note(signed_in.run)}"
        self._add(
            "API requests: sign-in", signed_in.run.per_s, "/s", note=note, floor=hashes_per_s, floor_name="bare argon2"
        )

    async def commands(self) -> None:
        """From a request until the socket acts, alone and while readings come in."""
        await self._command_latency("")
        plan = self._plan(rate_per_s=_LOAD_DURING_API_PER_S, seconds=600)
        async with background_load(self._way, plan):
            await asyncio.sleep(1)
            await self._command_latency(f" with {_LOAD_DURING_API_PER_S:,.0f} readings/s coming in")

    async def _command_latency(self, loaded: str) -> None:
        latencies_ms, asked = await command_latencies(self._way, self._scale.seconds)
        for percent, goal in ((50, COMMAND_P50_GOAL_MS), (99, COMMAND_P99_GOAL_MS)):
            self._add(
                f"p{percent} command requested → socket acts{loaded}",
                percentile(latencies_ms, percent),
                "ms",
                goal=goal,
                better="lower",
                note=f"{len(latencies_ms):,} of {asked:,} done",
            )

    async def firmwares(self) -> None:
        """Real firmwares at a reading a second each: memory of one, and what arrives of all."""
        run = await run_firmwares(self._way, FIRMWARES, self._scale.seconds)
        note = f"{run.online} of {run.sockets} online, {run.crashes} crashes, {run.cpu_percent:.0f} % of a core"
        name = f"{run.sockets} real firmwares"
        self._add(f"{name}: readings into SQL", run.readings_per_s, "/s", note=note)
        self._add(f"{name}: PSS of one", run.pss_kib, "KiB", better="lower", note="")
        self._add(f"{name}: RSS of one", run.rss_kib, "KiB", better="lower", note="")

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
            settings.api_host,
            settings.api_port,
            paths,
            token=self._api_token,
            rate_per_s=rate_per_s,
            seconds=self._scale.seconds / 2,
        )
        name = f"API p99 of {what} at {rate_per_s:,.0f}/s{loaded}"
        value = percentile(run.latencies_ms, 99)
        self._add(name, value, "ms", goal=goal_ms, better="lower", note=_http_note(run))

    async def _a_day_of_readings(self) -> tuple[str, list[str]]:
        """Give one device a day of history; its id and the paths of its series."""
        device_id = f"bench-day-{secrets.token_hex(2)}"
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
        floor: float | None = None,
        floor_name: str = "/healthz",
    ) -> None:
        self._report.add(
            Figure(self._way.name, name, value, unit, floor, floor_name if floor else "", goal, better, note)
        )


def _loss_note(run: LoadRun) -> str:
    if run.stored != run.sent:
        return f"{run.stored:,} rows in SQL of {run.sent:,} sent"
    return "" if run.visible >= run.sent else f"only {run.visible:,} of {run.sent:,} became visible"


def _http_note(run: HttpRun) -> str:
    p50 = percentile(run.latencies_ms, 50)
    failed = f", {run.failures} failed" if run.failures else ""
    return f"p50 {p50:.1f} ms, {run.per_s:,.0f}/s{failed}" if p50 is not None else f"no answer{failed}"
