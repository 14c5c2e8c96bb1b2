"""Rebuilds beside a running projector, against a real log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import DependencyUnavailable
from projections.dialect import drop_generation, insert_new, swap_generations, write_engine
from projections.folded import FoldedBatch, Place
from projections.latest_views import LatestViews
from projections.newest_rows import DeviceView
from projections.positions import Position, begin_positions
from projections.rebuild import FRESH, RebuildRunning, rebuild
from projections.schema import create_generation, migrate
from projections.store import Store
from tests.projection_records import READINGS, T0_MS, append, reading
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


async def test_a_rebuild_swaps_in_under_a_running_projector(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.all_rollups._READINGS_PER_CHUNK", 25)
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


@pytest.mark.parametrize("step", ["log replayed", "rollups computed"])
async def test_a_rebuild_that_another_has_taken_the_tables_from_ends_and_swaps_nothing(world: World, step: str) -> None:
    """As when the database's server was started anew meanwhile, and so has forgotten who is at work alone."""
    engine, group = write_engine(world.settings.resolved_database_url()), source_of(world).group

    def begin_another(reached: str) -> None:
        if reached == step:
            with engine.begin() as connection:
                drop_generation(connection, FRESH)
                create_generation(connection, FRESH, T0_MS)
                begin_positions(connection, FRESH, group, {READINGS: 0}, {READINGS[0]: "an-id"}, "another's")
                insert_new(connection, FRESH.readings, [(1, T0_MS, 1, 0, T0_MS, 5, *[None] * 6)])

    await append(world, some_events(world, 5))
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    await spoil(world, "INSERT INTO site_admins VALUES ('somebody', 1)")
    with pytest.raises(RebuildRunning, match="another rebuild has begun"):
        await rebuild(source_of(world), options_of(world), on_step=begin_another)
    assert await count(world, "site_admins") == 1 and await count(world, "rollups_15m_rebuild") == 0
    engine.dispose()


async def test_a_rebuild_goes_on_where_the_answer_to_a_commit_was_lost(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, commit, lost = embedded_world, Store.commit, []

    def commit_and_lose_the_first_answer(store: Store, batch: FoldedBatch, held: Mapping[Place, Position]) -> object:
        told = commit(store, batch, held)
        if not lost:
            lost.append(batch)
            raise DependencyUnavailable("database", "Lost connection to server during query")
        return told

    await append(world, some_events(world, 5))
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    monkeypatch.setattr(Store, "commit", commit_and_lose_the_first_answer)
    done = await rebuild(source_of(world), options_of(world))
    assert lost and done.records == 18
    assert (await checked(world)).ok


async def test_a_rebuild_goes_on_where_the_answer_to_the_swap_was_lost(
    stack_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, lost = stack_world, []

    def swap_and_lose_the_answer(*models: Any) -> None:
        swap_generations(*models)
        lost.append(models)
        raise DependencyUnavailable("database", "Lost connection to server during query")

    await append(world, some_events(world, 5))
    await asyncio.to_thread(migrate, world.settings.resolved_database_url())
    monkeypatch.setattr("projections.rebuild.swap_generations", swap_and_lose_the_answer)
    await rebuild(source_of(world), options_of(world))
    assert len(lost) == 1
    assert (await checked(world)).ok


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
