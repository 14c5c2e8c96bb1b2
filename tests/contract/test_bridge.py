"""The bridge between each MQTT broker and each Kafka: nothing lost, nothing acknowledged early, everything told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from bridges.mqtt_link import MqttServer
from bridges.run_bridge import KafkaServer, run_bridge
from domain.clock import to_ms
from domain.errors import DependencyUnavailable, SettingInvalid
from domain.events import (
    DEAD_LETTERS_TOPIC,
    READINGS_TOPIC,
    REPORTS_TOPIC,
    CommandReported,
    DeadLettered,
    DeviceEventReported,
    PresenceChanged,
    ReadingRecorded,
)
from domain.wire import MAX_PAYLOAD_BYTES, WireReading, encode_data, encode_status
from ops.embedded.ports import free_ports
from tests.bridge_run import BOOT, a_socket, bridge_servers, presence, reading, running_bridge, until
from tests.log_reader import identities, read_log
from tests.servers import World

_Event = TypeVar("_Event")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _seqs_in_log(world: World, device_id: str) -> list[int]:
    return [seq for device, _, seq in identities(await read_log(world, READINGS_TOPIC)) if device == device_id]


async def _of_device(world: World, topic: str, device_id: str, kind: type[_Event]) -> list[_Event]:
    events = [record.event() for record in await read_log(world, topic) if record.key == device_id.encode()]
    return [event for event in events if isinstance(event, kind)]


async def test_a_reading_reaches_the_log_as_it_was_and_is_receipted(world: World) -> None:
    at_ms = _now_ms() - 5_000
    sent = WireReading(BOOT, 7, 98_200, at_ms, None, 230_100, 431, 123_456_789, True, 41_200, -61)
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        socket.send(encode_data([sent]))
        await until(lambda: socket.receipted() == {7})
        (event,) = await _of_device(world, READINGS_TOPIC, socket.device_id, ReadingRecorded)
        assert bridge.count("readings_total") == 1
        assert bridge.count("devices_seen") == 1
    assert to_ms(event.measured_at) == at_ms
    assert at_ms < to_ms(event.received_at) <= _now_ms()
    assert event == ReadingRecorded(
        socket.device_id, BOOT, 7, event.measured_at, event.received_at, 98.2, 230.1, 0.431, 123456.789, True, 41.2, -61
    )


async def test_nothing_is_acknowledged_or_receipted_before_kafka_has_it(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(200):
            socket.send(encode_data([reading(seq, _now_ms())]))
        await until(lambda: len(bridge.tap.lines[0].delivered) >= 200 and bridge.count("in_flight") >= 200)
        assert (bridge.tap.acknowledged, socket.receipts) == (0, [])
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(200)))
        assert bridge.tap.acknowledged >= 200
        assert await _seqs_in_log(world, socket.device_id) == list(range(200))


async def test_a_kafka_that_was_killed_costs_nothing_but_time(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.kill9("kafka")
        for seq in range(100):
            socket.send(encode_data([reading(seq, _now_ms())]))
        await until(lambda: bridge.count("append_failures_total") >= 1, within_s=60)
        assert bridge.count("kafka_connected") == 0
        assert (bridge.tap.acknowledged, socket.receipts) == (0, [])
        world.servers.start("kafka")
        await until(lambda: socket.receipted() == set(range(100)), within_s=60)
        assert bridge.count("kafka_connected") == 1
        # What was under way when Kafka died may stand there twice: once more is the same event.
        assert list(dict.fromkeys(await _seqs_in_log(world, socket.device_id))) == list(range(100))


async def test_a_line_that_breaks_in_flight_doubles_nothing_and_is_not_acknowledged_on_the_next(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(50):
            socket.send(encode_data([reading(seq, _now_ms())]))
        first = bridge.tap.lines[0]
        await until(lambda: len(first.delivered) >= 50)
        first.cut()
        await until(lambda: len(bridge.tap.lines) >= 2 and len(set(bridge.tap.lines[-1].delivered)) >= 50)
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(50)))
        await until(lambda: len(bridge.tap.lines[-1].acknowledged) >= 50)
        assert first.acknowledged == []
        assert await _seqs_in_log(world, socket.device_id) == list(range(50))


async def test_a_message_that_comes_again_while_under_way_is_appended_and_acknowledged_once(
    embedded_world: World,
) -> None:
    """NATS sends what is not acknowledged within its `ack_wait` again, on the same connection."""
    world = embedded_world
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        for seq in range(20):
            socket.send(encode_data([reading(seq, _now_ms())]))
        socket.send_presence(encode_status(presence(True)))
        line = bridge.tap.lines[0]
        await until(lambda: len(line.delivered) >= 40 and bridge.count("redelivered_total") >= 21)
        world.servers.resume("kafka")
        await until(lambda: socket.receipted() == set(range(20)))
        await until(lambda: len(line.acknowledged) >= 21)
        assert Counter(line.acknowledged).most_common(1)[0][1] == 1
        assert await _seqs_in_log(world, socket.device_id) == list(range(20))
        assert len(await _of_device(world, REPORTS_TOPIC, socket.device_id, PresenceChanged)) == 1


async def test_a_broker_that_was_killed_is_found_again_and_the_stream_goes_on(world: World) -> None:
    async with running_bridge(world) as bridge:
        async with a_socket(world, "early") as early:
            early.send(encode_data([reading(1, _now_ms())]))
            await until(lambda: early.receipted() == {1})
            world.servers.kill9("mqtt")
            await until(lambda: bridge.count("mqtt_connected") == 0)
            world.servers.start("mqtt")
        async with a_socket(world, "late") as late:
            await until(lambda: bridge.count("mqtt_connected") == 1)
            late.send(encode_data([reading(2, _now_ms())]))
            await until(lambda: late.receipted() == {2})
            assert await _seqs_in_log(world, late.device_id) == [2]


async def test_poison_becomes_dead_letters_with_their_bytes_and_the_stream_goes_on(world: World) -> None:
    now_ms = _now_ms()
    good = reading(1, now_ms)
    poison = {
        "not_json": b"\xff\x00 not json",
        "schema": encode_data([good]).replace(b"1001", b"99999999"),
        "doubled_key": encode_data([good]).replace(b"{", b'{"seq":1,', 1),
        "clock_ahead": encode_data([reading(2, now_ms + 180_000)]),
        "too_old": encode_data([reading(3, now_ms - 500 * 86_400_000)]),
        "clock_missing": encode_data([WireReading(BOOT, 4, 1)]),
        "too_many": encode_data([good] * 501),
        "too_large": b"[" + b" " * MAX_PAYLOAD_BYTES + b"]",
    }
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        for payload in poison.values():
            socket.send(payload)
        socket.send(b'{"neither":1}', "status")
        socket.send(encode_data([reading(9, now_ms)]))
        await until(lambda: 9 in socket.receipted())
        letters = await _of_device(world, DEAD_LETTERS_TOPIC, socket.device_id, DeadLettered)
        assert {reason: bridge.count("dead_letters_total", reason=reason) for reason in poison} == {
            reason: 2 if reason == "schema" else 1 for reason in poison
        }
        # A refused reading that says which one it is is settled too: the device need not send it again.
        assert socket.receipted() == {1, 2, 3, 4, 9}
        await until(lambda: bridge.tap.acknowledged >= len(poison) + 2)
    # A broker may hand out status and data in another order than they came.
    (of_status,) = [one for one in letters if one.origin == f"mqtt:devices/{socket.device_id}/status"]
    of_data = [one for one in letters if one.origin == f"mqtt:devices/{socket.device_id}/data"]
    assert (of_status.reason, of_status.raw_bytes()) == ("schema", b'{"neither":1}')
    assert [letter.reason for letter in of_data] == [*poison]
    kept = {letter.reason: letter.raw_bytes() for letter in of_data}
    assert kept == {**poison, "too_large": poison["too_large"][:MAX_PAYLOAD_BYTES]}
    assert f"of {MAX_PAYLOAD_BYTES + 2} bytes" in of_data[-1].detail


async def test_one_bad_reading_does_not_spoil_a_backlog(world: World) -> None:
    now_ms = _now_ms()
    backlog = [reading(seq, now_ms - 1000 * (500 - seq)) for seq in range(499)] + [reading(499, now_ms + 600_000)]
    async with running_bridge(world), a_socket(world) as socket:
        socket.send(encode_data(backlog))
        await until(lambda: socket.receipted() == set(range(500)))
        assert await _seqs_in_log(world, socket.device_id) == list(range(499))
        (letter,) = await _of_device(world, DEAD_LETTERS_TOPIC, socket.device_id, DeadLettered)
    assert (letter.reason, letter.boot, letter.seq) == ("clock_ahead", BOOT, 499)


async def test_receipts_name_exactly_what_was_settled_and_are_collected(world: World) -> None:
    async with running_bridge(world, receipt_interval_ms=300) as bridge, a_socket(world) as socket:
        for seq in [*range(40), *range(50, 90)]:
            socket.send(encode_data([reading(seq, _now_ms())]))
        socket.send(encode_data([reading(3, _now_ms(), boot="00c0ffee")]))
        await bridge.settled(81)
        await until(lambda: socket.receipted() == {*range(40), *range(50, 90)})
        await until(lambda: socket.receipted("00c0ffee") == {3})
    assert len(socket.receipts) < 20


async def test_a_socket_without_a_clock_is_dated_by_the_newest_of_its_payload(world: World) -> None:
    undated = [WireReading(BOOT, seq, 5, up=60_000 + 1000 * seq) for seq in range(3)]
    async with running_bridge(world), a_socket(world) as socket:
        socket.send(encode_data(undated))
        await until(lambda: socket.receipted() == {0, 1, 2})
        events = await _of_device(world, READINGS_TOPIC, socket.device_id, ReadingRecorded)
    received_ms = to_ms(events[0].received_at)
    assert [to_ms(event.measured_at) for event in events] == [received_ms - 2000, received_ms - 1000, received_ms]
    assert [event.up_ms for event in events] == [60_000, 61_000, 62_000]


async def test_presence_comes_from_the_socket_and_from_its_last_will(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world, will=encode_status(presence(False))) as socket:
        socket.send_presence(encode_status(presence(True, firmware="1.4.0")))
        await bridge.settled(1)
        socket.client.abort()
        await until(lambda: bridge.count("reports_total") >= 2)
        events = await _of_device(world, REPORTS_TOPIC, socket.device_id, PresenceChanged)
    assert [(event.online, event.boot, event.firmware) for event in events] == [
        (True, BOOT, "1.4.0"),
        (False, None, None),
    ]


async def test_a_bridge_that_returns_hears_the_presence_that_the_broker_kept(world: World) -> None:
    async with a_socket(world) as socket:
        async with running_bridge(world) as bridge:
            socket.send_presence(encode_status(presence(True)))
            await bridge.settled(1)
        async with running_bridge(world):
            await until_async(lambda: _presence_count(world, socket.device_id), 2)


async def test_what_happened_at_a_socket_reaches_the_reports(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        socket.send(b'{"command":"6f9b","result":"rejected","reason":"expired","at":1764000000500}', "status")
        socket.send(b'{"event":"trip","cause":"over_current","current_ma":17200,"at":1764000000500}', "status")
        await bridge.settled(2)
        (command,) = await _of_device(world, REPORTS_TOPIC, socket.device_id, CommandReported)
        (trip,) = await _of_device(world, REPORTS_TOPIC, socket.device_id, DeviceEventReported)
    assert (command.command_id, command.result, command.reason) == ("6f9b", "rejected", "expired")
    assert (trip.event, trip.details) == ("trip", {"cause": "over_current", "current_ma": 17200})


async def test_a_bridge_that_stops_loses_nothing_to_the_next_one(world: World) -> None:
    async with a_socket(world) as socket:
        async with running_bridge(world) as bridge:
            for seq in range(2000):
                socket.send(encode_data([reading(seq, _now_ms())]))
            await bridge.settled(300)
            bridge.stop.set()
            began_s = time.monotonic()
            await asyncio.wait([bridge.task], timeout=12)
            assert bridge.task.done()
            assert time.monotonic() - began_s < 10
            in_log = await _seqs_in_log(world, socket.device_id)
            assert bridge.tap.acknowledged <= len(in_log)
            assert socket.receipted() <= set(in_log)
        async with running_bridge(world):
            await until(lambda: socket.receipted() == set(range(2000)))
            assert set(await _seqs_in_log(world, socket.device_id)) == set(range(2000))


async def test_a_bridge_stops_in_time_while_kafka_is_away_and_acknowledges_nothing(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        world.servers.pause("kafka")
        socket.send(encode_data([reading(1, _now_ms())]))
        await until(lambda: len(bridge.tap.lines[0].delivered) == 1)
        bridge.stop.set()
        began_s = time.monotonic()
        await asyncio.wait([bridge.task], timeout=12)
        assert bridge.task.done()
        assert time.monotonic() - began_s < 10
        assert (bridge.tap.acknowledged, socket.receipts) == (0, [])


async def test_a_start_without_kafka_says_so(embedded_world: World, unused_port: int) -> None:
    mqtt, kafka = bridge_servers(embedded_world, embedded_world.settings.mqtt_port)
    with pytest.raises(DependencyUnavailable, match=f"kafka is unavailable: .*{unused_port}"):
        await _start(mqtt, replace(kafka, bootstrap=f"127.0.0.1:{unused_port}"))


async def test_a_start_without_a_broker_says_so(embedded_world: World, unused_port: int) -> None:
    mqtt, kafka = bridge_servers(embedded_world, unused_port)
    with pytest.raises(DependencyUnavailable, match=f"mqtt is unavailable: .*{unused_port}"):
        await _start(mqtt, kafka)


async def test_a_start_with_a_wrong_password_names_the_user(world: World) -> None:
    mqtt, kafka = bridge_servers(world, world.settings.mqtt_port)
    with pytest.raises(SettingInvalid, match=mqtt.username) as refused:
        await _start(replace(mqtt, password="wrong-password"), kafka)
    assert "wrong-password" not in str(refused.value)


@pytest.fixture
def unused_port() -> int:
    (port,) = free_ports(1)
    return port


async def _start(mqtt: MqttServer, kafka: KafkaServer) -> None:
    await run_bridge(mqtt, kafka, reading_max_age_ms=1, receipt_interval_ms=1000, metrics_port=0, stop=asyncio.Event())


async def _presence_count(world: World, device_id: str) -> int:
    return len(await _of_device(world, REPORTS_TOPIC, device_id, PresenceChanged))


async def until_async(count: Callable[[], Awaitable[int]], at_least: int) -> None:
    async with asyncio.timeout(30):
        while await count() < at_least:
            await asyncio.sleep(0.1)


async def test_the_bridge_role_ends_cleanly_on_sigterm_and_carries_on_after_kill_9(world: World) -> None:
    async with a_socket(world) as socket:
        killed = world.start_role("bridge")
        for seq in range(500):
            socket.send(encode_data([reading(seq, _now_ms())]))
        await until(lambda: len(socket.receipts) >= 1)
        killed.kill()
        for seq in range(500, 600):
            socket.send(encode_data([reading(seq, _now_ms())]))
        ended = world.start_role("bridge")
        await until_async(lambda: _distinct(world, socket.device_id), 600)
        began_s = time.monotonic()
        ended.stop()
        assert ended.exit_code() == 0
        assert time.monotonic() - began_s < 10


async def _distinct(world: World, device_id: str) -> int:
    return len(set(await _seqs_in_log(world, device_id)))
