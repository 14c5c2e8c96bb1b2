"""What the projector tells Prometheus is true, most of all while something stands still."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial

from ops.embedded.ports import free_ports
from ops.figures import scrape
from projections.app import run_projector
from projections.schema import migrate
from tests.contract.test_projector import options_of, source_of, until
from tests.projection_records import append, reading
from tests.servers import World


async def test_the_lag_grows_while_nothing_can_be_written(embedded_world: World) -> None:
    world, (port,) = embedded_world, free_ports(1)
    stands_still, goes_on, stop = threading.Event(), threading.Event(), asyncio.Event()

    def on_step(step: str) -> None:
        if step == "rows written" and not goes_on.is_set():
            stands_still.set()
            goes_on.wait(120)

    async def lag_is(records: int) -> bool:
        samples = (await asyncio.to_thread(scrape, f"http://127.0.0.2:{port}/metrics")).get(
            "wattaway_projector_lag_records", {}
        )
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
    finally:
        goes_on.set()
        stop.set()
        await running
