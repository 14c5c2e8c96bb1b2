"""A bridge of a test's own, in the test's process, behind a tap; and sockets to talk to it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bridges.metrics import BridgeMetrics
from bridges.mqtt_link import MqttServer
from bridges.run_bridge import KafkaServer, run_bridge
from domain.events import READINGS_TOPIC
from domain.wire import PresenceReport, Receipt, WireReading, data_topic, decode_receipt, receipts_topic, status_topic
from ops.service_users import mqtt_password
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login, MqttRefused
from ops.simulator.mqtt_packets import Message, Will, encode_text
from ops.wiring import kafka_server
from tests.log_reader import identities, read_log
from tests.mqtt_tap import MqttTap, mqtt_tap
from tests.servers import World
from tests.waiting import until as until

BOOT = "0badcafe"
DAY_MS = 86_400_000
_Event = TypeVar("_Event")


@dataclass
class RunningBridge:
    """A bridge that takes messages."""

    tap: MqttTap
    metrics: BridgeMetrics
    stop: asyncio.Event
    task: asyncio.Task[None]

    def count(self, name: str, **labels: str) -> float:
        """A metric's value, 0 if there is none yet."""
        return self.metrics.registry.get_sample_value(f"wattaway_bridge_{name}", labels) or 0


def bridge_servers(world: World, mqtt_port: int) -> tuple[MqttServer, KafkaServer]:
    settings = world.settings
    return (
        MqttServer("127.0.0.1", mqtt_port, settings.mqtt_username, mqtt_password(settings), settings.mqtt_client_id),
        kafka_server(settings),
    )


@asynccontextmanager
async def running_bridge(world: World, *, receipt_interval_ms: int = 50) -> AsyncIterator[RunningBridge]:
    """A bridge behind a tap, ready when this yields and drained when it ends."""
    stop, metrics = asyncio.Event(), BridgeMetrics()
    async with mqtt_tap(world.settings.mqtt_host, world.settings.mqtt_port) as tap:
        running = run_bridge(
            *bridge_servers(world, tap.port),
            reading_max_age_ms=400 * DAY_MS,
            receipt_interval_ms=receipt_interval_ms,
            metrics_port=0,
            stop=stop,
            metrics=metrics,
        )
        task = asyncio.ensure_future(running)
        bridge = RunningBridge(tap, metrics, stop, task)
        try:
            await until(lambda: task.done() or bridge.count("mqtt_connected") == 1)
            yield bridge
        finally:
            stop.set()
            await asyncio.wait([task], timeout=12)
            task.cancel()
            task.result()


@dataclass
class TestSocket:
    """A socket's end of the wire; `receipts` has what it was told."""

    __test__ = False

    device_id: str
    client: MqttClient
    receipts: list[Receipt] = field(default_factory=list)
    taken: int = 0
    """PUBACKs that came from the broker."""
    _sent: Any = field(default_factory=lambda: itertools.count(1))

    def send(self, payload: bytes, channel: str = "data") -> None:
        topic = data_topic(self.device_id) if channel == "data" else status_topic(self.device_id)
        self.client.publish(encode_text(topic), payload, retain=False)

    def send_presence(self, payload: bytes) -> None:
        self.client.publish(encode_text(status_topic(self.device_id)), payload, retain=True)

    def receipted(self, boot: str = BOOT) -> set[int]:
        """The seqs of `boot` that it has a receipt for."""
        ranges = [one for receipt in self.receipts if receipt.boot == boot for one in receipt.ranges]
        return {seq for first, last in ranges for seq in range(first, last + 1)}


@asynccontextmanager
async def a_socket(world: World, name: str = "socket", *, will: bytes | None = None) -> AsyncIterator[TestSocket]:
    """A connected socket that listens for its receipts."""
    device_id = world.device_id(name)
    socket = await _connect(world, device_id, will)
    try:
        yield socket
    finally:
        await socket.client.disconnect()


async def _connect(world: World, device_id: str, will: bytes | None) -> TestSocket:
    receipts: list[Receipt] = []
    login = Login(
        world.settings.mqtt_host,
        world.settings.mqtt_port,
        client_id=device_id,
        username=device_id,
        password=world.servers.admit([device_id])[device_id],
        will=None if will is None else Will(status_topic(device_id), will),
    )
    made: list[TestSocket] = []

    def count(tokens: Sequence[Any]) -> None:
        made[0].taken += len(tokens)

    def note(message: Message) -> None:
        receipts.append(decode_receipt(message.payload))

    async with asyncio.timeout(20):
        while True:
            try:
                client = await connect(login, on_message=note, on_puback=count)
                break
            except MqttRefused:  # The broker may still be learning of the account.
                await asyncio.sleep(0.05)
    made.append(TestSocket(device_id, client, receipts))
    await client.subscribe([(receipts_topic(device_id), 0)])
    return made[0]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def seqs_in_log(world: World, device_id: str) -> list[int]:
    """The `seq`s of a device's readings, as they stand in the log."""
    return [seq for device, _, seq in identities(await read_log(world, READINGS_TOPIC)) if device == device_id]


async def events_of(world: World, topic: str, device_id: str, kind: type[_Event]) -> list[_Event]:
    """A device's events of one kind, as they stand in the log."""
    events = [record.event() for record in await read_log(world, topic) if record.key == device_id.encode()]
    return [event for event in events if isinstance(event, kind)]


async def until_count(count: Callable[[], Awaitable[int]], at_least: int, within_s: float = 30) -> None:
    """Return once there are so many."""
    async with asyncio.timeout(within_s):
        while await count() < at_least:
            await asyncio.sleep(0.1)


def reading(seq: int, at_ms: int, *, boot: str = BOOT) -> WireReading:
    return WireReading(boot, seq, 1000 + seq, at=at_ms)


def presence(online: bool, *, firmware: str | None = None) -> PresenceReport:
    return PresenceReport(online, BOOT if online else None, firmware)
