"""The projector and verify against a real log, on both ways to run."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from domain.errors import DependencyUnavailable, LogReplaced, SettingInvalid
from projections.dialect import write_engine
from projections.folds import PROJECTED_TOPICS
from projections.log_consumer import LogConsumer
from projections.options import redis_client
from projections.rebuild import rebuild
from projections.topic_ids import describe_topics
from tests.projection_records import T0_MS, append, dump, reading
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


async def test_the_log_becomes_read_models_that_verify(world: World) -> None:
    events = some_events(world)
    await append(world, [*events, *events[:30], *events[:30]])
    async with running(world):
        await until_there(world, 180)

        async def rolled_up() -> bool:
            return await count(world, "dirty_buckets") == 0 and await count(world, "dead_letters") >= 2

        await until(rolled_up)
        found = await checked(world)
    assert found.ok, str(found)
    assert (found.readings, found.doubles, found.lag_records, found.dirty_buckets) == (180 + 58, 58, 0, 0)
    rows = {one.table: one.rows for one in found.tables}
    assert rows["readings"] == rows["rollups_15m"] == rows["rollups_1h"] == 180
    assert rows["dead_letters"] == 4 and rows["device_reports"] == 1 and found.views_checked == 3
    assert rows["rollups_1d"] == 3 * 4


async def test_records_that_nobody_projects_are_said_and_fail_who_asks_for_them(world: World) -> None:
    await append(world, some_events(world, 2))
    async with running(world):
        await until_there(world, 6)

        async def all_there() -> bool:
            return (await checked(world)).lag_records == 0

        await until(all_there)
    await append(world, [reading(world.device_id("s0"), seq, T0_MS + seq) for seq in range(10, 17)])
    for option, code in ((), 0), (("--caught-up",), 1):
        told = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ops.cli", "verify", *option],
            env={**os.environ, **world.env, "WATTAWAY_TIME_ZONE": options_of(world).time_zone},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert told.returncode == code, told.stderr
        assert "7 RECORDS BEHIND ITS END" in told.stdout.splitlines()[-1]


async def test_redis_is_told_and_heals_within_seconds_of_a_flush(world: World) -> None:
    prefix = world.settings.redis_prefix
    async with redis_client(world.settings.resolved_redis_url()) as client, running(world):
        await append(world, [reading(world.device_id(), 1)])

        async def shown() -> bool:
            return bool(await client.hexists(f"{prefix}latest", world.device_id()))

        async def declared_complete() -> bool:
            return bool(await client.exists(f"{prefix}generation"))

        await until(shown)
        for name in await client.keys(f"{prefix}*"):
            await client.delete(name)
        # Which is said last, once everything is shown again.
        await until(declared_complete, within_s=5)
        assert json.loads(await client.hget(f"{prefix}latest", world.device_id()))["seq"] == 1


async def test_sql_goes_on_while_redis_is_away_and_redis_is_made_whole_after(world: World) -> None:
    async with running(world):
        await append(world, [reading(world.device_id(), 0)])
        await until_there(world, 1)
        world.servers.kill9("redis")
        await append(world, [reading(world.device_id(), n, T0_MS + n) for n in range(1, 20)])
        await until_there(world, 20)
        world.servers.start("redis")
        found = await checked(world)
    assert found.ok, str(found)


@pytest.mark.parametrize(
    "step", ["positions moved", "readings written", "buckets marked", "rows written", "committed", "views written"]
)
async def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(embedded_world: World, step: str) -> None:
    world = embedded_world
    crashes = 0

    def crash(reached: str) -> None:
        nonlocal crashes
        if reached == step and crashes < 3:
            crashes += 1
            raise RuntimeError("crashed on purpose")

    await append(world, some_events(world, 20))
    async with running(world, on_step=crash):
        await until_there(world, 60)

        async def settled() -> bool:
            return await count(world, "dead_letters") == 2 and await count(world, "device_reports") == 1

        await until(settled)
        found = await checked(world)
    assert found.ok, str(found)
    assert crashes > 0


@pytest.mark.long_on_stack
async def test_two_projectors_share_the_log_and_one_takes_over_from_the_other(world: World) -> None:
    events = some_events(world, 60)
    await append(world, events[:60])
    async with running(world, "p1"):
        async with running(world, "p2"):
            await append(world, events[60:120])
            await until_there(world, 110)
        await append(world, events[120:])
        await until_there(world, 180)
        found = await checked(world)
    assert found.ok, str(found)


async def test_a_consumer_told_to_end_while_it_closes_a_connection_does_not_go_on(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would keep its partitions for ever, and nobody else would get them.
    close = AIOKafkaClient.close

    async def close_and_end(self: Any) -> None:
        for task in asyncio.all_tasks():
            if task.get_coro().__qualname__ == "LogConsumer.consume":
                # Comes while `close` waits for a task that it has cancelled itself.
                asyncio.get_running_loop().call_soon(task.cancel)
        await close(self)

    await append(embedded_world, [reading(embedded_world.device_id(), 0)])
    monkeypatch.setattr(AIOKafkaClient, "close", close_and_end)
    with pytest.raises(DependencyUnavailable, match="broken off"):
        async with running(embedded_world) as task:
            await asyncio.wait({task}, timeout=30)


async def test_whoever_is_broken_off_while_asking_for_topics_leaves_no_connection_open(embedded_world: World) -> None:
    settings = embedded_world.settings
    await append(embedded_world, [])
    for after_ms in range(30):
        asking = asyncio.ensure_future(describe_topics(settings.kafka_bootstrap, source_of(embedded_world).topics))
        await asyncio.sleep(after_ms / 4000)
        asking.cancel()
        await asyncio.wait({asking})
    gc.collect()
    port = int(settings.kafka_bootstrap.rpartition(":")[2])
    peers = [one.raddr for one in psutil.Process().net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    assert not [peer for peer in peers if peer.port == port]


async def test_who_takes_over_bears_that_the_one_before_still_moves_on(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, moved = embedded_world, 60
    await append(world, [reading(world.device_id(), 0)])
    async with running(world):
        await until_there(world, 1)
    read_positions = LogConsumer._read_positions

    def read_late(self: LogConsumer, *args: Any) -> Any:
        # As if another projector had written these and the positions just now.
        asyncio.run(append(world, [reading(world.device_id(), 1 + seq) for seq in range(moved)]))
        asyncio.run(spoil(world, f"UPDATE consumer_positions SET next_offset = {1 + moved} WHERE next_offset = 1"))
        monkeypatch.undo()
        return read_positions(self, *args)

    monkeypatch.setattr(LogConsumer, "_read_positions", read_late)
    async with running(world):
        await append(world, [reading(world.device_id(), 1 + moved)])
        await until_there(world, 2)


async def test_a_log_made_anew_is_refused_by_all_but_a_rebuild(world: World) -> None:
    await append(world, [reading(world.device_id(), n) for n in range(3)])
    async with running(world):
        await until_there(world, 3)
    topics = [world.settings.kafka_topic_prefix + name for name in PROJECTED_TOPICS]
    before = await describe_topics(world.settings.kafka_bootstrap, topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=world.settings.kafka_bootstrap)
    await admin.start()
    await admin.delete_topics(topics)

    async def gone() -> bool:
        return not {topic["topic"] for topic in await admin.describe_topics() if topic["error_code"] == 0} & set(topics)

    await until(gone)
    await admin.close()
    await append(world, [reading(world.device_id("other"), n) for n in range(9)])
    assert (await describe_topics(world.settings.kafka_bootstrap, topics)).keys() == before.keys()
    with pytest.raises(LogReplaced, match="made anew"):
        async with running(world) as task:
            await asyncio.wait({task}, timeout=30)
    assert "made anew" in str((await checked(world)).first_difference)
    await rebuild(source_of(world), options_of(world))
    async with running(world):
        await until_there(world, 9)
        assert (await checked(world)).ok
    assert await count(world, "readings") == 9


# In the order opposite to that of the comparison, so that each is the first difference although the others stay.
PLANTED = [
    (
        "UPDATE dead_letters SET reason = 'x' WHERE log_topic = 'readings'",
        "dead_letters: log_topic readings",
        "reason is 'x'",
    ),
    ("DELETE FROM device_reports", "device_reports: device s1", "the row is 'missing' live"),
    ("UPDATE rollups_1d SET readings = 99", "rollups_1d: device s", "readings is 99 live"),
    ("DELETE FROM rollups_1h", "rollups_1h: device s", "the row is 'missing' live"),
    ("UPDATE rollups_15m SET energy_mwh = 1", "rollups_15m: device s", "energy_mwh is 1 live"),
    ("UPDATE readings SET seq = 999 WHERE seq = 9", "readings: device s", "seq 9: the row is 'missing' live"),
    ("DELETE FROM readings WHERE seq = 6", "seq 6", "the row is 'missing' live and 'there' by the log"),
    ("UPDATE readings SET power_mw = 7 WHERE seq = 4", "seq 4", "power_mw is 7 live and 100000 by the log"),
    (
        "UPDATE devices SET firmware = '6.6.6' WHERE online",
        "devices: device s1",
        "firmware is '6.6.6' live and '1.4.0'",
    ),
    ("UPDATE devices SET first_seen_at_ms = 1", "devices: device s", "first_seen_at_ms is 1 live"),
]


@pytest.mark.long_on_stack
async def test_every_planted_corruption_is_named(world: World) -> None:
    await append(world, some_events(world, 30))
    async with running(world):
        await until_there(world, 90)

        async def settled() -> bool:
            return (await count(world, "dirty_buckets"), await count(world, "dead_letters")) == (0, 2)

        await until(settled)
    assert (await checked(world)).ok
    for sql, where, what in PLANTED:
        await spoil(world, sql)
        found = await checked(world)
        assert not found.ok and where in str(found.first_difference) and what in str(found.first_difference), sql
    await rebuild(source_of(world), options_of(world))
    assert (await checked(world)).ok


async def test_a_device_that_reuses_an_id_is_listed_but_no_failure(embedded_world: World) -> None:
    world = embedded_world
    device = world.device_id()
    events = [reading(device, 1), reading(device, 1, power_w=7.0), reading(device, 2), reading(device, 2, T0_MS + 9)]
    await append(world, events)
    async with running(world):
        await until_there(world, 3)
        found = await checked(world)
    assert found.ok, str(found)
    assert len(found.findings) == 2 and "seq 1 said" in found.findings[0] and "seq 2 was used" in found.findings[1]


async def test_records_swapped_in_the_log_are_a_failure_and_resends_are_not(embedded_world: World) -> None:
    world = embedded_world
    device = world.device_id()
    resent = reading(device, 1, T0_MS, received_at_ms=T0_MS + 900)
    await append(world, [reading(device, 0), reading(device, 2, T0_MS + 2), resent, reading(device, 3, T0_MS + 3)])
    async with running(world):
        await until_there(world, 4)
        assert (await checked(world)).ok
        await append(world, [reading(device, 6, T0_MS + 6), reading(device, 5, T0_MS + 5)])
        await until_there(world, 6)
        found = await checked(world)
    assert "order in the log" in str(found.first_difference) and "seq 5" in str(found.first_difference)


async def test_a_database_that_lets_nobody_in_any_more_ends_the_role(embedded_world: World) -> None:
    """As when its password is changed: whoever starts the role again gives it the new one."""

    def refused(_step: str) -> None:
        raise SettingInvalid("WATTAWAY_DATABASE_URL: Access denied")

    await append(embedded_world, [reading(embedded_world.device_id(), 1)])
    with pytest.raises(SettingInvalid, match="Access denied"):
        async with running(embedded_world, on_step=refused) as projector:
            await asyncio.wait({projector}, timeout=30)
    assert await count(embedded_world, "readings") == 0


async def test_projectors_stop_at_once_and_read_models_are_left_as_they_were(embedded_world: World) -> None:
    world = embedded_world
    await append(world, some_events(world, 5))
    async with running(world):
        await until_there(world, 15)
    engine = write_engine(world.settings.resolved_database_url())
    changing = ("dirty_buckets", "rollups_15m", "rollups_1h", "rollups_1d")
    before = dump(engine, leave_out=changing)
    async with running(world):
        pass
    assert dump(engine, leave_out=changing) == before
    engine.dispose()


async def test_a_frozen_database_does_not_keep_a_projector_from_stopping(stack_world: World) -> None:
    world = stack_world
    async with running(world) as task:
        await append(world, [reading(world.device_id(), 1)])
        await until_there(world, 1)
        world.servers.pause("database")
        await append(world, [reading(world.device_id(), n) for n in range(2, 50)])
    assert task.done() and task.exception() is None
    world.servers.resume("database")
    async with running(world):
        await until_there(world, 49)
