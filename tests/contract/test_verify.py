"""What a verification takes for a difference, and what not: against a real log, while the read models lag."""

from __future__ import annotations

import pytest

from projections.rollups import QUARTER_MS
from tests.projection_records import T0_MS, append, reading
from tests.projector_run import checked, count, running, until, until_there
from tests.servers import World


async def test_a_late_counter_whose_step_ends_beyond_buckets_without_counters_is_no_difference(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, counters = embedded_world, {0: 0.0, 2: None, 3: 3.0, 1: 1.0}
    *events, late = [
        reading(world.device_id(), quarter, T0_MS + quarter * QUARTER_MS, energy_wh=energy_wh, received_at_ms=T0_MS)
        for quarter, energy_wh in counters.items()
    ]

    async def rolled_up() -> bool:
        return await count(world, "rollups_15m") == 3 and await count(world, "dirty_buckets") == 0

    await append(world, events)
    async with running(world):
        await until(rolled_up)
    monkeypatch.setattr("projections.app.recompute_closed", lambda *_args, **_options: 0)
    async with running(world):
        await append(world, [late])
        await until_there(world, 4)
        found = await checked(world)
    assert found.ok, str(found)
    assert found.dirty_buckets == 1
