"""What the bridge makes of what sockets say, between each MQTT broker and each Kafka."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from dataclasses import replace

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
from tests.bridge_run import (
    BOOT,
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
from tests.log_reader import read_log
from tests.servers import World


async def test_a_reading_reaches_the_log_as_it_was_and_is_receipted(world: World) -> None:
    at_ms = now_ms() - 5_000
    sent = WireReading(BOOT, 7, 98_200, at_ms, None, 230_100, 431, 123_456_789, True, 41_200, -61)
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        socket.send(encode_data([sent]))
        await until(lambda: socket.receipted() == {7})
        (event,) = await events_of(world, READINGS_TOPIC, socket.device_id, ReadingRecorded)
        assert bridge.count("readings_total") == 1
        # The broker has kept what other sockets said last, and the bridge hears of those, too.
        async with asyncio.timeout(30):
            while bridge.count("devices_seen") != await _devices_in_log(world):
                await asyncio.sleep(0.1)
    assert to_ms(event.measured_at) == at_ms
    assert at_ms < to_ms(event.received_at) <= now_ms()
    assert event == ReadingRecorded(
        socket.device_id, BOOT, 7, event.measured_at, event.received_at, 98.2, 230.1, 0.431, 123456.789, True, 41.2, -61
    )


async def _devices_in_log(world: World) -> int:
    return len({record.key for record in await read_log(world, READINGS_TOPIC, REPORTS_TOPIC)})


async def test_poison_becomes_dead_letters_with_their_bytes_and_the_stream_goes_on(world: World) -> None:
    sent_at_ms = now_ms()
    good = reading(1, sent_at_ms)
    poison = {
        "not_json": b"\xff\x00 not json",
        "schema": encode_data([good]).replace(b"1001", b"99999999"),
        "doubled_key": encode_data([good]).replace(b"{", b'{"seq":1,', 1),
        "clock_ahead": encode_data([reading(2, sent_at_ms + 180_000)]),
        "too_old": encode_data([reading(3, sent_at_ms - 500 * 86_400_000)]),
        "clock_missing": encode_data([WireReading(BOOT, 4, 1)]),
        "too_many": encode_data([good] * 501),
        "too_large": b"[" + b" " * MAX_PAYLOAD_BYTES + b"]",
    }
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        for payload in poison.values():
            socket.send(payload)
        socket.send(b'{"neither":1}', "status")
        socket.send(encode_data([reading(9, sent_at_ms)]))
        await until(lambda: 9 in socket.receipted())
        letters = await events_of(world, DEAD_LETTERS_TOPIC, socket.device_id, DeadLettered)
        assert {reason: bridge.count("dead_letters_total", reason=reason) for reason in poison} == {
            reason: 2 if reason == "schema" else 1 for reason in poison
        }
        # A refused reading that says which one it is is settled too: the device need not send it again.
        assert socket.receipted() == {1, 2, 3, 4, 9}
        await until(lambda: bridge.tap.acknowledged_of(socket.device_id) == len(poison) + 2)
    # A broker may hand out status and data in another order than they came.
    (of_status,) = [one for one in letters if one.origin == f"mqtt:devices/{socket.device_id}/status"]
    of_data = [one for one in letters if one.origin == f"mqtt:devices/{socket.device_id}/data"]
    assert (of_status.reason, of_status.raw_bytes()) == ("schema", b'{"neither":1}')
    assert [letter.reason for letter in of_data] == [*poison]
    kept = {letter.reason: letter.raw_bytes() for letter in of_data}
    assert kept == {**poison, "too_large": poison["too_large"][:MAX_PAYLOAD_BYTES]}
    assert f"of {MAX_PAYLOAD_BYTES + 2} bytes" in of_data[-1].detail


async def test_one_bad_reading_does_not_spoil_a_backlog(world: World) -> None:
    sent_at_ms = now_ms()
    backlog = [reading(seq, sent_at_ms - 1000 * (500 - seq)) for seq in range(499)] + [
        reading(499, sent_at_ms + 600_000)
    ]
    async with running_bridge(world), a_socket(world) as socket:
        socket.send(encode_data(backlog))
        await until(lambda: socket.receipted() == set(range(500)))
        assert await seqs_in_log(world, socket.device_id) == list(range(499))
        (letter,) = await events_of(world, DEAD_LETTERS_TOPIC, socket.device_id, DeadLettered)
    assert (letter.reason, letter.boot, letter.seq) == ("clock_ahead", BOOT, 499)


async def test_receipts_name_exactly_what_was_settled_and_are_collected(world: World) -> None:
    async with running_bridge(world, receipt_interval_ms=300), a_socket(world) as socket:
        for seq in [*range(40), *range(50, 90)]:
            socket.send(encode_data([reading(seq, now_ms())]))
        socket.send(encode_data([reading(3, now_ms(), boot="00c0ffee")]))
        await until(lambda: socket.receipted() == {*range(40), *range(50, 90)})
        await until(lambda: socket.receipted("00c0ffee") == {3})
    assert len(socket.receipts) < 20


async def test_a_socket_without_a_clock_is_dated_by_the_newest_of_its_payload(world: World) -> None:
    undated = [WireReading(BOOT, seq, 5, up=60_000 + 1000 * seq) for seq in range(3)]
    async with running_bridge(world), a_socket(world) as socket:
        socket.send(encode_data(undated))
        await until(lambda: socket.receipted() == {0, 1, 2})
        events = await events_of(world, READINGS_TOPIC, socket.device_id, ReadingRecorded)
    received_ms = to_ms(events[0].received_at)
    assert [to_ms(event.measured_at) for event in events] == [received_ms - 2000, received_ms - 1000, received_ms]
    assert [event.up_ms for event in events] == [60_000, 61_000, 62_000]


async def test_presence_comes_from_the_socket_and_from_its_last_will(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world, will=encode_status(presence(False))) as socket:
        socket.send_presence(encode_status(presence(True, firmware="1.4.0")))
        await until(lambda: bridge.tap.acknowledged_of(socket.device_id) == 1)
        socket.client.abort()
        await until_count(lambda: _presence_count(world, socket.device_id), 2)
        events = await events_of(world, REPORTS_TOPIC, socket.device_id, PresenceChanged)
    assert [(event.online, event.boot, event.firmware) for event in events] == [
        (True, BOOT, "1.4.0"),
        (False, None, None),
    ]


async def test_a_bridge_that_returns_tells_the_presence_that_the_broker_kept_as_such(world: World) -> None:
    async with a_socket(world) as socket:
        async with running_bridge(world) as bridge:
            socket.send_presence(encode_status(presence(True)))
            await until(lambda: bridge.tap.acknowledged_of(socket.device_id) == 1)
        async with running_bridge(world):
            await until_count(lambda: _presence_count(world, socket.device_id), 2)
        events = await events_of(world, REPORTS_TOPIC, socket.device_id, PresenceChanged)
    assert [(event.online, event.boot, event.retained) for event in events] == [(True, BOOT, False), (True, BOOT, True)]


async def test_what_happened_at_a_socket_reaches_the_reports(world: World) -> None:
    async with running_bridge(world) as bridge, a_socket(world) as socket:
        socket.send(b'{"command":"6f9b","result":"rejected","reason":"expired","at":1764000000500}', "status")
        socket.send(b'{"event":"trip","cause":"over_current","current_ma":17200,"at":1764000000500}', "status")
        await until(lambda: bridge.tap.acknowledged_of(socket.device_id) == 2)
        (command,) = await events_of(world, REPORTS_TOPIC, socket.device_id, CommandReported)
        (trip,) = await events_of(world, REPORTS_TOPIC, socket.device_id, DeviceEventReported)
    assert (command.command_id, command.result, command.reason) == ("6f9b", "rejected", "expired")
    assert (trip.event, trip.details) == ("trip", {"cause": "over_current", "current_ma": 17200})


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


async def test_a_start_with_an_account_that_may_not_listen_names_what_is_denied(embedded_world: World) -> None:
    """Mosquitto cannot say it: its ACL file is asked when a message is handed out, and every subscription granted."""
    world = embedded_world
    mqtt, kafka = bridge_servers(world, world.settings.mqtt_port)
    async with a_socket(world) as known:
        token = world.servers.admit([known.device_id])[known.device_id]
        as_socket = replace(mqtt, username=known.device_id, password=token, client_id=known.device_id)
        with pytest.raises(SettingInvalid, match=r"does not grant .* devices/\+/data, devices/\+/status at QoS 1"):
            await _start(as_socket, kafka)


async def test_a_metrics_port_in_use_is_named(embedded_world: World) -> None:
    mqtt, kafka = bridge_servers(embedded_world, embedded_world.settings.mqtt_port)
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(SettingInvalid, match=f"METRICS_PORT.*{port}"):
            await _start(mqtt, kafka, metrics_port=port)


@pytest.fixture
def unused_port() -> int:
    (port,) = free_ports(1)
    return port


async def _start(mqtt: MqttServer, kafka: KafkaServer, metrics_port: int = 0) -> None:
    async with asyncio.timeout(60):
        await run_bridge(
            mqtt,
            kafka,
            reading_max_age_ms=1,
            receipt_interval_ms=1000,
            metrics_port=metrics_port,
            stop=asyncio.Event(),
        )


async def _presence_count(world: World, device_id: str) -> int:
    return len(await events_of(world, REPORTS_TOPIC, device_id, PresenceChanged))
