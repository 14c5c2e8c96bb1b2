"""Rebuilds beside a running projector, against a real log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from projections.dialect import write_engine
from projections.latest_views import LatestViews
from projections.newest_rows import DeviceView
from projections.rebuild import RebuildRunning, rebuild
from projections.schema import migrate
from tests.projection_records import append, reading
from tests.projector_run import (
    checked,
    count,
    options_of,
    running,
    some_events,
    source_of,
    spoil,
    until,
    until_there,
)
from tests.servers import World


async def test_a_rebuild_swaps_in_under_a_running_projector(world: World) -> None:
    events = some_events(world, 60)
    await append(world, events[:90])
    async with running(world):
        await until_there(world, 80)
        await spoil(world, "UPDATE readings SET power_mw = power_mw + 1 WHERE seq = 3")
        await spoil(world, "DELETE FROM readings WHERE seq = 5")
        assert not (await checked(world)).ok
        adding = asyncio.create_task(append(world, events[90:]))
        done = await rebuild(source_of(world), options_of(world))
        await adding
        assert done.records >= 90 and done.views_filled
        await until_there(world, 180)

        async def whole() -> bool:
            return await count(world, "dead_letters") == 2 and await count(world, "device_reports") == 1

        await until(whole)
        found = await checked(world)
    assert found.ok, str(found)


@pytest.mark.parametrize("step", ["tables made", "log replayed", "rollups computed", "swapped"])
async def test_a_rebuild_that_dies_does_no_harm_and_the_next_one_works(embedded_world: World, step: str) -> None:
    world = embedded_world

    def crash(reached: str) -> None:
        if reached == step:
            raise RuntimeError("crashed on purpose")

    await append(world, some_events(world, 10))
    async with running(world):
        await until_there(world, 30)
        with pytest.raises(RuntimeError, match="on purpose"):
            await rebuild(source_of(world), options_of(world), on_step=crash)
        await append(world, [reading(world.device_id("late"), 1)])
        await until_there(world, 31)
        assert (await checked(world)).ok
        await rebuild(source_of(world), options_of(world))
        assert (await checked(world)).ok
    engine = write_engine(world.settings.resolved_database_url())
    with engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    engine.dispose()
    assert not [name for name in names if "rebuild" in name or "retired" in name]


async def test_two_rebuilds_at_once_are_refused(world: World) -> None:
    await append(world, some_events(world, 5))
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    second: list[asyncio.Task[object]] = []

    def start_second(step: str) -> None:
        if step == "tables made":
            second.append(asyncio.create_task(rebuild(source_of(world), options_of(world))))

    await rebuild(source_of(world), options_of(world), on_step=start_second)
    with pytest.raises(RebuildRunning):
        await second[0]


async def test_a_rebuild_whose_filling_is_overtaken_by_a_projectors_fills_once_more(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, fill, overtaken = embedded_world, LatestViews.fill, []

    async def overtaken_once(views: LatestViews, devices: Sequence[DeviceView]) -> None:
        if not overtaken:
            overtaken.append(await views.begin_filling())
        await fill(views, devices)

    monkeypatch.setattr(LatestViews, "fill", overtaken_once)
    await append(world, some_events(world, 5))
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    done = await rebuild(source_of(world), options_of(world))
    assert overtaken
    assert done.views_filled
    assert (await checked(world)).ok
