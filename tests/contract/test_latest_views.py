"""The latest views' contract, on Valkey and on Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from domain.errors import DependencyUnavailable
from domain.events import REPORTS_TOPIC
from projections.dialect import snapshot_engine, write_engine
from projections.filling import fill_views
from projections.folded import Newest, Presence
from projections.folds import fold_records
from projections.latest_views import LatestViews
from projections.metrics import ProjectorMetrics
from projections.newest_rows import device_views
from projections.options import redis_client
from projections.positions import read_positions
from projections.projector import Projector
from projections.schema import migrate
from projections.store import Store
from projections.tables import read_model
from projections.views_check import check_views
from projections.views_keeper import ViewsKeeper
from tests.projection_records import GROUP, READINGS, T0_MS, MovableClock, begun, presence, reading, stored
from tests.servers import World


@pytest.fixture
async def client(world: World) -> AsyncIterator[Redis]:
    async with redis_client(world.settings.resolved_redis_url()) as client:
        yield client


@pytest.fixture
def views(client: Redis, world: World) -> LatestViews:
    return LatestViews(client, world.settings.redis_prefix)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'views.db'}"
    migrate(url)
    engine = write_engine(url)
    yield engine
    engine.dispose()


def newest(at_ms: int, seq: int = 0, boot: int = 1) -> Newest:
    return Newest(at_ms, boot, seq, json.dumps({"seq": seq, "at": at_ms}).encode())


async def next_message(listener: object) -> object:
    async with asyncio.timeout(5):
        while True:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=1)  # type: ignore[attr-defined]
            if message is not None:
                return json.loads(message["data"])


async def test_only_what_is_newer_is_kept_and_shown(views: LatestViews, client: Redis) -> None:
    async with client.pubsub() as listener:
        await listener.subscribe(views.channel)
        await views.show({"a": newest(5), "b": newest(5)}, {})
        await views.show({"a": newest(4, 9), "b": newest(6)}, {})
        await views.show({"a": newest(5), "b": newest(6, 0, 0)}, {})
        await views.show({"a": newest(5, 1)}, {})
        first, second, third = [await next_message(listener) for _ in range(3)]
    assert first["type"] == "readings" and len(first["items"]) == 2  # type: ignore[index]
    assert second["items"] == [{"seq": 0, "at": 6}] and third["items"] == [{"seq": 1, "at": 5}]  # type: ignore[index]
    kept = await views.entries("latest")
    assert {device: json.loads(document) for device, (_, document) in kept.items()} == {
        "a": {"seq": 1, "at": 5},
        "b": {"seq": 0, "at": 6},
    }


async def test_presence_is_shown_and_an_older_one_does_not_win(views: LatestViews, client: Redis) -> None:
    async with client.pubsub() as listener:
        await listener.subscribe(views.channel)
        await views.show({}, {"a": Presence(T0_MS, True, None, "1.4.0", 7)})
        await views.show({}, {"a": Presence(T0_MS - 1, False, None, None, None)})
        await views.show({}, {"a": Presence(T0_MS, False, None, "1.4.0", 7)})
        messages = [await next_message(listener) for _ in range(2)]
    at = "2025-11-24T16:00:00Z"
    assert messages == [
        {"type": "presence", "items": [{"device_id": "a", "online": online, "at": at}]} for online in (True, False)
    ]
    (document,) = [json.loads(document) for _, document in (await views.entries("presence")).values()]
    assert (document["online"], document["firmware"], document["config"]) == (False, "1.4.0", 7)


async def test_more_devices_than_one_call_takes(views: LatestViews) -> None:
    await views.show({f"d{n}": newest(n) for n in range(1234)}, {})
    assert len(await views.entries("latest")) == 1234


async def test_views_are_complete_after_a_filling_and_not_after_a_flush(views: LatestViews, client: Redis) -> None:
    assert not await views.are_complete()
    token = await views.begin_filling()
    assert await views.finish_filling(token) and await views.are_complete()
    token = await views.begin_filling()
    await views.clear("live")
    assert not await views.finish_filling(token) and not await views.are_complete()


def project(engine: Engine) -> None:
    store = Store(engine, read_model(), GROUP, MovableClock())
    reports = (REPORTS_TOPIC, 0)
    positions = begun(store, READINGS, reports)
    readings = [reading(f"d{n}", seq, T0_MS + seq, energy_wh=1.5, relay=True) for n in range(300) for seq in range(2)]
    undated = [reading("clockless", n, T0_MS, up_ms=n) for n in range(2)]
    says = [presence(f"d{n}", at_ms=T0_MS + n) for n in range(3)]
    store.commit(fold_records({READINGS: stored([*readings, *undated]), reports: stored(says)}), positions)


async def test_a_filling_from_sql_gives_what_projecting_gives(views: LatestViews, engine: Engine) -> None:
    project(engine)
    assert await fill_views(engine, read_model(), views)
    latest = await views.entries("latest")
    assert len(latest) == 301 and all(json.loads(document)["seq"] == 1 for _, document in latest.values())
    assert len(await views.entries("presence")) == 3
    await views.show({"d0": newest(T0_MS + 1, 2**40, 0xFFFFFFFF)}, {})
    await fill_views(engine, read_model(), views)
    assert json.loads((await views.entries("latest"))["d0"][1])["seq"] == 2**40, "newer than SQL: kept"


async def test_who_takes_over_shows_what_the_one_before_had_only_written(views: LatestViews, engine: Engine) -> None:
    store, metrics = Store(engine, read_model(), GROUP, MovableClock()), ProjectorMetrics()
    projector = Projector(store, views, MovableClock(), metrics)
    keeper = ViewsKeeper(projector, engine, read_model(), views, metrics)
    await projector.take_over(begun(store, READINGS))
    assert await keeper.fill_if_needed()
    await projector.project(projector.fold({READINGS: stored([reading("socket", 1)])}))
    mine = projector.positions
    await projector.give_up()
    await projector.take_over(mine)
    assert await keeper.fill_if_needed()
    assert metrics.fillings._value.get() == 1, "what it has shown itself is not filled in again"

    await projector.give_up()
    # Killed between SQL and Redis.
    unseen = fold_records({READINGS: stored([reading("socket", 2, T0_MS + 1)], first_offset=1)})
    Store(engine, read_model(), GROUP, MovableClock()).commit(unseen, mine)
    with engine.begin() as connection:
        await projector.take_over(read_positions(connection, read_model(), GROUP))
    assert await keeper.fill_if_needed()
    assert json.loads((await views.entries("latest"))["socket"][1])["seq"] == 2


async def test_what_a_rebuild_has_swapped_in_is_shown_although_redis_had_newer(
    views: LatestViews, engine: Engine
) -> None:
    """As when the rebuild dies between the two, or finds no Redis."""
    project(engine)
    projector = Projector(Store(engine, read_model(), GROUP, MovableClock()), views, MovableClock(), ProjectorMetrics())
    keeper = ViewsKeeper(projector, engine, read_model(), views, ProjectorMetrics())
    assert await keeper.fill_if_needed()
    await views.show(
        {"d0": newest(T0_MS + 9), "ghost": newest(T0_MS)}, {"d0": Presence(T0_MS + 9, False, None, None, None)}
    )
    with engine.begin() as connection:
        connection.execute(read_model().consumer_positions.update().values(generation="rebuilt"))
    assert await keeper.fill_if_needed()
    assert await check_views(views, engine, engine, read_model()) == (301, None)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (("hset", "latest", "d5", "{}"), "Redis latest: device d5: is no reading"),
        (("hdel", "latest", "d7"), "Redis latest: device d7: missing"),
        (("hset", "latest:order", "d9", "9"), "Redis latest: device d9: is of 9, which is in no table"),
        (("hset", "latest:order", "d8", "0"), "Redis latest: device d8: is of 0, the log gives"),
        (("hset", "latest", "ghost", "{}"), "Redis latest: device ghost: "),
        (("hset", "presence", "d1", '{"online":false}'), "Redis presence: device d1: "),
        (("hdel", "presence", "d2"), "Redis presence: device d2: missing"),
        (("del", "generation"), "not declared complete"),
    ],
)
async def test_what_is_wrong_in_redis_is_named(
    views: LatestViews,
    client: Redis,
    engine: Engine,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    spoil: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.setattr("projections.views_check._WITHIN_S", 0)
    project(engine)
    await fill_views(engine, read_model(), views)
    assert await check_views(views, engine, engine, read_model()) == (301, None)
    await client.execute_command(spoil[0], world.settings.redis_prefix + spoil[1], *spoil[2:])
    found = await check_views(views, engine, engine, read_model())
    assert found.difference is not None and expected in found.difference


async def test_redis_may_be_ahead_of_the_log_by_what_sql_holds(
    views: LatestViews, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.views_check._WITHIN_S", 0)
    migrate(f"sqlite:///{tmp_path / 'old.db'}")
    old = write_engine(f"sqlite:///{tmp_path / 'old.db'}")
    project(engine)
    await fill_views(engine, read_model(), views)
    assert (await check_views(views, old, engine, read_model())).difference is None
    assert "in no table" in str((await check_views(views, old, old, read_model())).difference)
    old.dispose()


async def test_a_fleet_that_goes_on_while_it_is_compared_does_not_differ(
    views: LatestViews, client: Redis, engine: Engine, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every look each socket reports between Redis and SQL, and one of two is heard of."""
    monkeypatch.setattr("projections.views_check._WITHIN_S", 1)
    monkeypatch.setattr("projections.views_check._EVERY_S", 0.01)
    migrate(f"sqlite:///{tmp_path / 'old.db'}")
    old = write_engine(f"sqlite:///{tmp_path / 'old.db'}")
    reports, steps = (REPORTS_TOPIC, 0), 0
    store = Store(engine, read_model(), GROUP, MovableClock())
    projector = Projector(store, views, MovableClock(), ProjectorMetrics())
    await projector.take_over(begun(store, READINGS, reports))
    projector.shows_batches = True
    entries = LatestViews.entries

    async def go_on() -> None:
        nonlocal steps
        at_ms, heard = T0_MS + steps, [steps % 2] if steps else [0, 1]
        records = {
            READINGS: stored([reading(f"d{n}", steps, at_ms) for n in range(2)], 2 * steps),
            reports: stored([presence(f"d{n}", at_ms=at_ms) for n in heard], steps + (steps > 0)),
        }
        if not steps:
            first = Store(old, read_model(), GROUP, MovableClock())
            first.commit(projector.fold(records).folded, begun(first, READINGS, reports))
        await projector.project(projector.fold(records))
        steps += 1

    async def entries_of_then(self: LatestViews, view: str) -> dict[str, tuple[str, bytes]]:
        found = await entries(self, view)
        if view == "presence":
            await go_on()
        return found

    await go_on()
    await views.finish_filling(await views.begin_filling())
    await go_on()
    await go_on()
    monkeypatch.setattr(LatestViews, "entries", entries_of_then)
    assert await check_views(views, old, engine, read_model()) == (2, None)
    monkeypatch.setattr(LatestViews, "entries", entries)
    await client.hset(f"{world.settings.redis_prefix}latest:order", "d1", f"{T0_MS + 1:015d}:9f3a61c3:{1:015d}")
    assert "which is in no table" in str((await check_views(views, old, engine, read_model())).difference)
    old.dispose()


async def test_a_server_out_of_reach_is_told_as_such(engine: Engine, tmp_path: Path) -> None:
    async with redis_client(f"unix://{tmp_path / 'none.sock'}") as client:
        with pytest.raises(DependencyUnavailable, match="redis is unavailable"):
            await fill_views(engine, read_model(), LatestViews(client, "x:"))


def test_devices_are_read_in_pieces(engine: Engine) -> None:
    project(engine)
    reader = snapshot_engine(engine.url.render_as_string())
    with reader.begin() as connection:
        first = device_views(connection, read_model(), -1, 200)
        second = device_views(connection, read_model(), first[-1].device_ref, 200)
    reader.dispose()
    assert len({one.device_id for one in first + second}) == 301
