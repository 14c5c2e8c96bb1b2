"""One run of the load generator against a running engine, watched from outside: what became visible, and when."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import create_engine, func, select

from domain.errors import DependencyUnavailable
from ops.bench.generator import LoadPlan, LoadReport
from ops.bench.processes import cpu_seconds, us_per_reading
from ops.bench.ways import Way
from ops.child import Child
from ops.figures import scrape
from projections.tables import read_model

_LOOK_EVERY_S = 0.1
_LOOK_CLOSELY_EVERY_S = 0.03
_DRAINED_WITHIN_S = 60.0
_CONNECTED_WITHIN_S = 60.0
# Observed once a batch is in SQL and in Redis.
_VISIBLE = "wattaway_projector_visible_latency_seconds_count"


@dataclass
class LoadRun:
    """What a run of the generator came to."""

    sent: int = 0
    visible: int = 0
    stored: int = 0
    """New rows in SQL at the end; unlike `visible` it counts no reading twice."""
    receipted: int = 0
    sending_s: float = 0.0
    until_visible_s: float = 0.0
    generator_cpu_s: float = 0.0
    ticks: list[tuple[int, int]] = field(default_factory=list, repr=False)
    cpu_us: dict[str, float] = field(default_factory=dict)
    """CPU-µs per reading of every process, from the first message sent to the last reading visible."""

    @property
    def per_s(self) -> float:
        """Readings a second, from the first message sent to the last reading committed and visible."""
        return self.visible / self.until_visible_s if self.until_visible_s else 0.0


@asynccontextmanager
async def background_load(way: Way, plan: LoadPlan) -> AsyncIterator[None]:
    """Load that goes on while the block runs."""
    async with _generator(plan) as process:
        _write(process, b"go\n")
        feeding = asyncio.create_task(_feed(way, process, await _visible(way)))
        try:
            yield
        finally:
            feeding.cancel()


async def run_load(way: Way, plan: LoadPlan, processes: Mapping[str, Child]) -> LoadRun:
    """Send as planned, wait until all of it is committed and visible."""
    run = LoadRun()
    stored = await asyncio.to_thread(stored_readings, way)
    async with _generator(plan) as process:
        base, before = await _visible(way), cpu_seconds(processes)
        _write(process, b"go\n")
        feeding = asyncio.create_task(_feed(way, process, base))
        try:
            report = msgspec.json.decode(await _line(process, plan.seconds + 60), type=LoadReport)
            visible_at_s = await _until_visible(way, base + report.sent)
        finally:
            feeding.cancel()
        run.visible = await _visible(way) - base
        run.sent, run.receipted, run.generator_cpu_s = report.sent, report.receipted, report.cpu_s
        run.ticks = report.ticks
        run.sending_s = report.last_sent_s - report.first_sent_s
        run.until_visible_s = visible_at_s - report.first_sent_s
        run.cpu_us = us_per_reading(before, cpu_seconds(processes), run.visible)
        run.cpu_us["generator"] = report.cpu_s / max(1, run.visible) * 1e6
    run.stored = await asyncio.to_thread(stored_readings, way) - stored
    return run


def stored_readings(way: Way) -> int:
    """How many readings stand in the database."""
    engine = create_engine(way.settings.resolved_database_url())
    try:
        with engine.connect() as connection:
            count = connection.execute(select(func.count()).select_from(read_model().readings)).scalar_one()
            return int(count)
    finally:
        engine.dispose()


async def _until_visible(way: Way, count: int) -> float:
    """When the projector had shown `count` readings in all (or gave up: the time is over)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_WITHIN_S):
            while await _visible(way) < count:  # noqa: ASYNC110 - another process knows
                await asyncio.sleep(_LOOK_CLOSELY_EVERY_S)
    return time.monotonic()


async def _visible(way: Way) -> int:
    pages = await asyncio.gather(*(asyncio.to_thread(scrape, url) for url in way.projector_metrics()))
    return int(sum(sum(samples.get(_VISIBLE, {}).values()) for samples in pages))


async def _feed(way: Way, process: asyncio.subprocess.Process, base: int) -> None:
    """Tell the generator what is visible, so that it stays within its window."""
    while True:
        _write(process, b"%d\n" % (await _visible(way) - base))
        await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def _generator(plan: LoadPlan) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.bench.generator", stdin=pipe, stdout=pipe, limit=2**24
    )
    try:
        _write(process, msgspec.json.encode(plan) + b"\n")
        await _line(process, _CONNECTED_WITHIN_S)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _line(process: asyncio.subprocess.Process, within_s: float) -> bytes:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), within_s)
    if not line:
        raise DependencyUnavailable("load generator", "it ended early; see what it wrote above")
    return line


def _write(process: asyncio.subprocess.Process, line: bytes) -> None:
    assert process.stdin is not None
    if process.returncode is None and not process.stdin.is_closing():
        process.stdin.write(line)
