"""What the projector tells Prometheus is true, most of all while something stands still."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, Histogram

from ops.embedded.ports import free_ports
from ops.figures import scrape
from projections.app import run_projector
from projections.metrics import BatchHistogram
from projections.schema import migrate
from tests.projection_records import append, reading
from tests.projector_run import options_of, source_of, until
from tests.servers import World


def test_a_batch_counts_as_each_of_its_readings_alone_would() -> None:
    registry, now_ms, bounds_ms = CollectorRegistry(), 1_764_000_000_000, (5, 100, 1000)
    ours = BatchHistogram(registry, "ours", "…", bounds_ms)
    theirs = Histogram("theirs", "…", buckets=[bound_ms / 1000 for bound_ms in bounds_ms], registry=registry)
    for batch in ([1000, 5, 6, 4, -30, 99, 100, 101, 5000, 5], [], [100]):
        ours.observe(now_ms, [now_ms - elapsed_ms for elapsed_ms in batch])
        for elapsed_ms in batch:
            theirs.observe(elapsed_ms / 1000)
    for edge in ("0.005", "0.1", "1.0", "+Inf"):
        assert registry.get_sample_value("ours_bucket", {"le": edge}) == registry.get_sample_value(
            "theirs_bucket", {"le": edge}
        )
    assert registry.get_sample_value("ours_count") == registry.get_sample_value("theirs_count") == 11
    assert registry.get_sample_value("ours_sum") == pytest.approx(registry.get_sample_value("theirs_sum"))


async def test_the_lag_grows_while_nothing_can_be_written(embedded_world: World) -> None:
    world, (port,) = embedded_world, free_ports(1)
    url = f"http://127.0.0.2:{port}/metrics"
    stands_still, goes_on, stop = threading.Event(), threading.Event(), asyncio.Event()

    def on_step(step: str) -> None:
        if step == "rows written" and not goes_on.is_set():
            stands_still.set()
            goes_on.wait(120)

    async def lag_is(records: int) -> bool:
        samples = (await asyncio.to_thread(scrape, url)).get("wattaway_projector_lag_records", {})
        return list(samples.values()) == [records]

    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    options = replace(options_of(world), metrics_port=port, metrics_host="127.0.0.2")
    running = asyncio.create_task(run_projector(source_of(world), options, stop=stop, on_step=on_step))
    try:
        await append(world, [reading(world.device_id(), 0)])
        await until(partial(asyncio.to_thread, stands_still.is_set))
        for so_far in range(1, 32, 10):
            await until(partial(lag_is, so_far), 20)
            await append(world, [reading(world.device_id(), so_far + n) for n in range(10)])
        await until(partial(lag_is, 41), 20)
        goes_on.set()
        await until(partial(lag_is, 0), 20)
        samples = await asyncio.to_thread(scrape, url)
        by_bridge, by_socket = (f"wattaway_projector_{name}_latency_seconds_sum" for name in ("visible", "measured"))
        # Each was received 50 ms after it was measured.
        assert samples[by_socket][""] - samples[by_bridge][""] == pytest.approx(41 * 0.05)
    finally:
        goes_on.set()
        stop.set()
        await running
