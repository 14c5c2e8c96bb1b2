"""Nothing lost and nothing acknowledged early, whoever goes away: Kafka, the broker, the line or the bridge itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from bridges.run_bridge import run_bridge
from domain.events import REPORTS_TOPIC, PresenceChanged
from domain.wire import encode_data, encode_status
from tests.bridge_run import (
    a_socket,
    bridge_servers,
    events_of,
    now_ms,
    presence,
    reading,
    running_bridge,
    seqs_in_log,
    until,
    until_count,
)
from tests.servers import World


async def test_nothing_is_acknowledged_or_receipted_before_kafka_has_it(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(200):
            socket.send(encode_data([reading(seq, now_ms())]))
        await until(
            lambda: len(bridge.tap.lines[0].delivered_of(socket.device_id)) >= 200 and bridge.count("in_flight") >= 200
        )
        assert (bridge.tap.acknowledged_of(socket.device_id), socket.receipts) == (0, [])
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(200)))
        assert bridge.tap.acknowledged_of(socket.device_id) == 200
        assert await seqs_in_log(world, socket.device_id) == list(range(200))


@pytest.mark.long_on_stack
async def test_a_kafka_that_was_killed_costs_nothing_but_time(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.kill9("kafka")
        for seq in range(100):
            socket.send(encode_data([reading(seq, now_ms())]))
        await until(lambda: bridge.count("append_failures_total") >= 1, within_s=60)
        assert bridge.count("kafka_connected") == 0
        assert (bridge.tap.acknowledged_of(socket.device_id), socket.receipts) == (0, [])
        world.servers.start("kafka")
        await until(lambda: socket.receipted() == set(range(100)), within_s=60)
        assert bridge.count("kafka_connected") == 1
        # What was under way when Kafka died may stand there twice: once more is the same event.
        assert list(dict.fromkeys(await seqs_in_log(world, socket.device_id))) == list(range(100))


async def test_a_line_that_breaks_in_flight_doubles_nothing_and_is_not_acknowledged_on_the_next(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(50):
            socket.send(encode_data([reading(seq, now_ms())]))
        first = bridge.tap.lines[0]
        await until(lambda: len(first.delivered_of(socket.device_id)) >= 50)
        first.cut()
        await until(
            lambda: len(bridge.tap.lines) >= 2 and len(set(bridge.tap.lines[-1].delivered_of(socket.device_id))) >= 50
        )
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(50)))
        await until(lambda: len(bridge.tap.lines[-1].acknowledged_of(socket.device_id)) >= 50)
        assert first.acknowledged_of(socket.device_id) == []
        assert await seqs_in_log(world, socket.device_id) == list(range(50))


async def test_a_message_that_comes_again_while_under_way_is_appended_and_acknowledged_once(
    embedded_world: World,
) -> None:
    """NATS sends what is not acknowledged within its `ack_wait` again, on the same connection."""
    world = embedded_world
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(20):
            socket.send(encode_data([reading(seq, now_ms())]))
        socket.send_presence(encode_status(presence(True)))
        line = bridge.tap.lines[0]
        await until(lambda: len(line.delivered_of(socket.device_id)) >= 42 and bridge.count("redelivered_total") >= 21)
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(20)))
        await until(lambda: len(line.acknowledged_of(socket.device_id)) >= 21)
        assert Counter(line.acknowledged_of(socket.device_id)).most_common(1)[0][1] == 1
        assert await seqs_in_log(world, socket.device_id) == list(range(20))
        assert len(await events_of(world, REPORTS_TOPIC, socket.device_id, PresenceChanged)) == 1


async def test_a_broker_that_was_killed_is_found_again_and_the_stream_goes_on(world: World) -> None:
    async with running_bridge(world) as bridge:
        async with a_socket(world, "early") as early:
            early.send(encode_data([reading(1, now_ms())]))
            await until(lambda: early.receipted() == {1})
            world.servers.kill9("mqtt")
            await until(lambda: bridge.count("mqtt_connected") == 0)
            world.servers.start("mqtt")
        async with a_socket(world, "late") as late:
            await until(lambda: bridge.count("mqtt_connected") == 1)
            late.send(encode_data([reading(2, now_ms())]))
            await until(lambda: late.receipted() == {2})
            assert await seqs_in_log(world, late.device_id) == [2]


@pytest.mark.long_on_stack
async def test_a_bridge_that_stops_loses_nothing_to_the_next_one(world: World) -> None:
    async with a_socket(world) as socket:
        async with running_bridge(world) as bridge:
            for seq in range(2000):
                socket.send(encode_data([reading(seq, now_ms())]))
            await until(lambda: bridge.tap.acknowledged_of(socket.device_id) >= 300)
            bridge.stop.set()
            began_s = time.monotonic()
            await asyncio.wait([bridge.task], timeout=12)
            assert bridge.task.done()
            assert time.monotonic() - began_s < 10
            in_log = await seqs_in_log(world, socket.device_id)
            assert bridge.tap.acknowledged_of(socket.device_id) <= len(in_log)
            assert socket.receipted() <= set(in_log)
        async with running_bridge(world):
            await until(lambda: socket.receipted() == set(range(2000)))
            assert set(await seqs_in_log(world, socket.device_id)) == set(range(2000))


@pytest.mark.long_on_stack
async def test_a_bridge_stops_in_time_while_kafka_is_away_and_acknowledges_nothing(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        socket.send(encode_data([reading(1, now_ms())]))
        await until(lambda: len(bridge.tap.lines[0].delivered_of(socket.device_id)) == 1)
        bridge.stop.set()
        began_s = time.monotonic()
        await asyncio.wait([bridge.task], timeout=12)
        assert bridge.task.done()
        assert time.monotonic() - began_s < 10
        assert (bridge.tap.acknowledged_of(socket.device_id), socket.receipts) == (0, [])


async def test_a_bridge_that_is_stopped_while_it_starts_ends_at_once(embedded_world: World) -> None:
    embedded_world.servers.pause("kafka")
    stop = asyncio.Event()
    starting = run_bridge(
        *bridge_servers(embedded_world, embedded_world.settings.mqtt_port),
        reading_max_age_ms=1,
        receipt_interval_ms=1000,
        metrics_port=0,
        stop=stop,
    )
    task = asyncio.ensure_future(starting)
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done
    stop.set()
    async with asyncio.timeout(5):
        await task


async def test_the_bridge_role_ends_cleanly_on_sigterm_and_carries_on_after_kill_9(world: World) -> None:
    async with a_socket(world) as socket:
        killed = world.start_role("bridge")
        for seq in range(500):
            socket.send(encode_data([reading(seq, now_ms())]))
        await until(lambda: len(socket.receipts) >= 1)
        killed.kill()
        for seq in range(500, 600):
            socket.send(encode_data([reading(seq, now_ms())]))
        ended = world.start_role("bridge")
        await until_count(lambda: _distinct(world, socket.device_id), 600)
        began_s = time.monotonic()
        ended.stop()
        assert ended.exit_code() == 0
        assert time.monotonic() - began_s < 10


async def _distinct(world: World, device_id: str) -> int:
    return len(set(await seqs_in_log(world, device_id)))
