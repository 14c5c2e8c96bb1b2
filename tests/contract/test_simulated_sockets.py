"""Simulated sockets against a real broker, with a bridge of the test's own that gives (or withholds) receipts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from domain.data_payload import decode_data
from domain.ranges import to_ranges
from domain.wire import (
    DATA_FILTER,
    STATUS_FILTER,
    PresenceReport,
    WireReading,
    decode_status,
    encode_data,
    encode_receipt,
    parse_device_topic,
    receipts_topic,
)
from ops.service_users import mqtt_password
from ops.simulator.fleet import Fleet, SimulationPlan, device_kinds
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login, MqttClosed, MqttRefused
from ops.simulator.mqtt_packets import Message, encode_text
from ops.simulator.socket_device import Endpoint, LinkTiming, SocketDevice, Tally
from tests.servers import World

QUICK = LinkTiming(
    first_backoff_s=0.05, longest_backoff_s=0.4, connect_timeout_s=10, resend_after_s=0.4, keep_alive_s=5
)


class ReceiptGiver:
    """The bridge's side of the wire: counts what arrives and answers with receipts, unless told not to."""

    def __init__(self) -> None:
        self.arrived: Counter[tuple[str, str, int]] = Counter()
        self.payload_sizes: list[int] = []
        self.presence: list[tuple[str, PresenceReport]] = []
        self.gives_receipts: Callable[[int], bool] = lambda _seq: True
        self.client: MqttClient | None = None

    def on_message(self, message: Message) -> None:
        device_id, channel = parse_device_topic(message.topic)
        if channel == "status":
            report = decode_status(message.payload)
            assert isinstance(report, PresenceReport)
            self.presence.append((device_id, report))
            return
        decoded = decode_data(message.payload, received_at_ms=time.time_ns() // 1_000_000, max_age_ms=10**12)
        assert decoded.rejected == []
        self.payload_sizes.append(len(decoded.readings))
        self.arrived.update((device_id, reading.boot, reading.seq) for reading in decoded.readings)
        receipted = [reading.seq for reading in decoded.readings if self.gives_receipts(reading.seq)]
        if receipted and self.client is not None:
            receipt = encode_receipt(decoded.readings[0].boot, to_ranges(receipted))
            self.client.publish_unacknowledged(encode_text(receipts_topic(device_id)), receipt)

    def seqs(self, device: SocketDevice) -> list[int]:
        return sorted(
            seq for device_id, boot, seq in self.arrived if (device_id, boot) == (device.device_id, device.boot)
        )


@asynccontextmanager
async def _receipts(world: World) -> AsyncIterator[ReceiptGiver]:
    giver, settings = ReceiptGiver(), world.settings
    login = Login(
        settings.mqtt_host,
        settings.mqtt_port,
        client_id=settings.mqtt_client_id,
        username=settings.mqtt_username,
        password=mqtt_password(settings),
    )
    giver.client = await _connect_in_time(login, giver.on_message)
    await giver.client.subscribe([(DATA_FILTER, 1), (STATUS_FILTER, 1)])
    try:
        yield giver
    finally:
        await giver.client.disconnect()


async def _connect_in_time(login: Login, on_message: Callable[[Message], None]) -> MqttClient:
    """The embedded broker refuses everybody until its auth callout is back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await connect(login, on_message=on_message)
            except MqttRefused:
                await asyncio.sleep(0.05)


def _token(world: World, device_id: str) -> str:
    return world.servers.admit([device_id])[device_id]


def _endpoint(world: World) -> Endpoint:
    return Endpoint(world.settings.mqtt_host, world.settings.mqtt_port)


@asynccontextmanager
async def _socket(world: World, *, lists_only: bool = False) -> AsyncIterator[SocketDevice]:
    device_id = world.device_id()
    device = SocketDevice(
        device_id,
        token=_token(world, device_id),
        boot="0badcafe",
        endpoint=_endpoint(world),
        gate=asyncio.Semaphore(5),
        tally=Tally(),
        timing=QUICK,
        lists_only=lists_only,
    )
    link = asyncio.create_task(device.stay_connected())
    try:
        yield device
    finally:
        link.cancel()
        await asyncio.wait({link})


def _fleet(world: World, plan: SimulationPlan, energy_mwh: dict[str, int] | None = None) -> Fleet:
    tokens = world.servers.admit(device_id for device_id, _kind in device_kinds(plan))
    return Fleet(plan, _endpoint(world), tokens.__getitem__, energy_mwh=energy_mwh)


async def _until(holds: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


def _reading(seq: int) -> bytes:
    return encode_data([WireReading("0badcafe", seq, 1000 + seq, at=1_764_000_000_000 + seq)])


def _offer(device: SocketDevice, seqs: range) -> None:
    for seq in seqs:
        device.offer(seq, _reading(seq))


async def test_what_was_measured_before_the_connection_arrives_as_a_list(world: World) -> None:
    async with _receipts(world) as bridge, _socket(world) as device:
        _offer(device, range(700))
        await _until(lambda: len(device.outbox) == 0)
        assert bridge.seqs(device) == list(range(700))
        assert max(bridge.payload_sizes) == 500
        assert device.outbox.resent == 0


async def test_live_readings_go_out_one_by_one(world: World) -> None:
    async with _receipts(world) as bridge, _socket(world) as device:
        await _until(lambda: device.online)
        for seq in range(5):
            _offer(device, range(seq, seq + 1))
            await _until(lambda: len(device.outbox) == 0)
        assert bridge.payload_sizes == [1] * 5


async def test_a_reading_whose_receipt_is_lost_is_sent_again_until_it_comes(world: World) -> None:
    async with _receipts(world) as bridge, _socket(world) as device:
        bridge.gives_receipts = lambda seq: seq % 2 == 0 or bridge.arrived[device.device_id, "0badcafe", seq] >= 3
        _offer(device, range(20))
        await _until(lambda: len(device.outbox) == 0)
        times = {seq: bridge.arrived[device.device_id, "0badcafe", seq] for seq in range(20)}
        assert all(count >= 3 for seq, count in times.items() if seq % 2)
        assert all(count == 1 for seq, count in times.items() if seq % 2 == 0)


async def test_readings_measured_without_a_connection_are_sent_after_it(world: World) -> None:
    async with _receipts(world) as bridge, _socket(world) as device:
        await _until(lambda: device.online)
        bridge.gives_receipts = lambda _seq: False
        _offer(device, range(3))
        await _until(lambda: len(bridge.seqs(device)) == 3)
        device.break_connection()
        await _until(lambda: not device.online)
        bridge.gives_receipts = lambda _seq: True
        _offer(device, range(3, 10))
        await _until(lambda: len(device.outbox) == 0)
        assert bridge.seqs(device) == list(range(10))


async def test_the_broker_announces_a_socket_that_vanished_and_the_socket_itself_that_it_leaves(
    world: World,
) -> None:
    async with _receipts(world) as bridge:
        async with _socket(world) as device:

            def seen() -> list[bool]:
                return [report.online for device_id, report in bridge.presence if device_id == device.device_id]

            await _until(lambda: seen() == [True])
            device.break_connection()
            await _until(lambda: seen() == [True, False, True])
        await _until(lambda: seen() == [True, False, True, False])
        boots = [report.boot for device_id, report in bridge.presence if device_id == device.device_id]
        assert boots == ["0badcafe", None, "0badcafe", "0badcafe"]


async def test_a_socket_survives_a_broker_that_dies(world: World) -> None:
    async with _socket(world) as device:
        await _until(lambda: device.online)
        world.servers.kill9("mqtt")
        await _until(lambda: not device.online)
        _offer(device, range(50))
        world.servers.start("mqtt")
        async with _receipts(world) as bridge:
            await _until(lambda: len(device.outbox) == 0)
            assert set(range(50)) <= set(bridge.seqs(device))


async def test_wrong_credentials_are_told_apart_from_an_absent_broker(world: World) -> None:
    settings = world.settings
    wrong = Login(settings.mqtt_host, settings.mqtt_port, "plug", username="plug", password="0" * 64)
    with pytest.raises(MqttRefused, match="connection of plug refused"):
        await connect(wrong)
    with pytest.raises(MqttClosed, match=r"127\.0\.0\.1:1"):
        await connect(Login("127.0.0.1", 1, "plug"))


async def test_a_fleet_reports_every_reading_as_receipted_although_connections_break(world: World) -> None:
    plan = SimulationPlan(20, interval_s=0.05, readings=40, seed=7, timing=QUICK, id_prefix=f"sim{world.marker}")
    async with _receipts(world) as bridge:
        fleet = _fleet(world, plan)
        running = asyncio.create_task(fleet.run())
        random = Random(1)
        for broken in range(1, 6):
            await _until(lambda broken=broken: fleet.tally.measured >= broken * 100)
            for device in random.sample(fleet.devices, 5):
                device.break_connection()
        report = await asyncio.wait_for(running, 60)
    assert (report.measured, report.receipted, report.outstanding) == (800, 800, 0)
    assert report.complete
    assert report.connections > 20
    assert all(bridge.seqs(device) == list(range(40)) for device in fleet.devices)


async def test_a_fleet_without_a_bridge_says_what_is_outstanding(world: World) -> None:
    plan = SimulationPlan(2, interval_s=0.01, readings=5, drain_s=0.3, timing=QUICK, id_prefix=f"sim{world.marker}")
    fleet = _fleet(world, plan)
    report = await asyncio.wait_for(fleet.run(), 30)
    assert (report.measured, report.outstanding, report.complete) == (10, 10, False)


async def test_counters_go_on_where_the_last_simulation_left_them(world: World) -> None:
    plan = SimulationPlan(3, interval_s=0.02, readings=3, timing=QUICK, id_prefix=f"sim{world.marker}")
    async with _receipts(world):
        first = _fleet(world, plan)
        before = (await asyncio.wait_for(first.run(), 30)).energy_mwh
        second = _fleet(world, plan, before)
        after = (await asyncio.wait_for(second.run(), 30)).energy_mwh
    assert before.keys() == after.keys()
    assert all(before[device_id] <= after[device_id] <= before[device_id] + 1_000 for device_id in before)
    assert {device.boot for device in first.devices}.isdisjoint(device.boot for device in second.devices)
