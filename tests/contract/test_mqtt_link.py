"""One connection to each broker: back-pressure that reaches the broker, and a lost link that acknowledges nothing."""

from __future__ import annotations

import asyncio

from bridges.intake import Intake, Message
from bridges.metrics import BridgeMetrics
from bridges.mqtt_link import MqttLink
from domain.clock import SystemClock
from domain.wire import DATA_FILTER, STATUS_FILTER, data_topic
from tests.bridge_run import a_socket, bridge_servers, until
from tests.mqtt_tap import mqtt_tap
from tests.servers import World

FILTERS = (DATA_FILTER, STATUS_FILTER)
# Far beyond what the sockets on the way (and asyncio's reader) can hold.
PAYLOAD = b"x" * 50_000
MESSAGES = 400


async def _some(intake: Intake) -> list[Message]:
    return await intake.next_batch(linger_s=0, max_messages=10, max_bytes=10**9)


async def test_a_full_intake_holds_the_broker_back_until_there_is_room(world: World) -> None:
    most = 20
    intake = Intake(SystemClock(), BridgeMetrics(), max_messages=most)
    async with mqtt_tap(world.settings.mqtt_host, world.settings.mqtt_port) as tap, a_socket(world) as socket:
        server, _ = bridge_servers(world, tap.port)
        link = MqttLink(server, intake.take)
        # Of this socket alone: what the broker has kept of other tests' sockets would count, too.
        await link.open([data_topic(socket.device_id)], timeout_s=10)
        try:
            for number in range(MESSAGES):
                socket.send(b"%d:" % number + PAYLOAD)
            arrived: list[bytes] = []
            await until(lambda: intake.unsettled >= most)
            while len(arrived) < MESSAGES:
                async with asyncio.timeout(30):
                    batch = await _some(intake)
                # What asyncio's reader had already read comes on top: twice its 64 KiB.
                assert intake.unsettled <= most + 5
                arrived += [one.payload for one in batch]
                intake.settle(batch)
            await until(lambda: len(tap.lines[0].acknowledged_of(socket.device_id)) == MESSAGES)
        finally:
            await link.close()
    assert [int(payload.split(b":")[0]) for payload in arrived] == list(range(MESSAGES))


async def test_a_lost_link_acknowledges_and_sends_nothing_more(world: World) -> None:
    intake = Intake(SystemClock(), BridgeMetrics())
    async with mqtt_tap(world.settings.mqtt_host, world.settings.mqtt_port) as tap, a_socket(world) as socket:
        server, _ = bridge_servers(world, tap.port)
        lost, current = MqttLink(server, intake.take), MqttLink(server, intake.take)
        await lost.open(FILTERS, timeout_s=10)
        socket.send(b"1")
        await until(lambda: len(tap.lines[0].delivered_of(socket.device_id)) == 1)
        tap.lines[0].cut()
        await until(lambda: not lost.alive)
        await current.open(FILTERS, timeout_s=10)
        try:
            (packet_id,) = tap.lines[0].delivered_of(socket.device_id)
            lost.acknowledge([packet_id])
            assert not lost.send([b"\x30\x03\x00\x01a"])
            await until(lambda: len(tap.lines[1].delivered_of(socket.device_id)) >= 1)
            assert [line.acknowledged_of(socket.device_id) for line in tap.lines] == [[], []]
        finally:
            await lost.close()
            await current.close()
