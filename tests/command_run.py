"""Commands from the event store to simulated sockets and back: the roles between, and a dispatcher in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.run_dispatcher import run_dispatcher
from domain.command_wire import WireCommand, decode_command
from domain.lifecycle.cause import Cause
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.lifecycle import Lifecycle
from domain.wire import PresenceReport, StatusReport, commands_topic, encode_status, status_topic
from ops.application import Application, open_application
from ops.dispatcher_role import dispatcher_mqtt
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, encode_text
from ops.simulator.obedience import CommandFaults
from ops.simulator.socket_device import Endpoint, LinkTiming, SocketDevice, Tally
from ops.wiring import kafka_server, migrate
from tests.servers import World
from tests.waiting import until as until

QUICK = LinkTiming(first_backoff_s=0.05, longest_backoff_s=0.4, connect_timeout_s=10, keep_alive_s=5)
ON, OFF = Order("switch", relay=True), Order("switch", relay=False)
TOGGLE = Order("toggle")


@dataclass
class Plug:
    """A simulated socket and what it has done."""

    device: SocketDevice
    faults: CommandFaults
    acted: list[WireCommand] = field(default_factory=list)

    @property
    def acted_ids(self) -> list[UUID]:
        return [UUID(command.id) for command in self.acted]


class Commands:
    """What a test asks for, and what became of it."""

    def __init__(self, world: World, application: Application) -> None:
        self.world, self.application = world, application

    @property
    def lifecycle(self) -> Lifecycle:
        return self.application.lifecycle

    def request(self, device_id: str, order: Order, *, expires_in_s: float = 30) -> UUID:
        """Ask for a command as the API does, but of a device that need not be registered here."""
        now = datetime.now(UTC)
        cause = Cause(now, "user:tester", str(uuid4()))
        expires_at = now + timedelta(seconds=expires_in_s)
        command = Command.request(device_id, order, cause, why="user", expires_at=expires_at)
        self.lifecycle.store(command)
        return command.id

    def events(self, command_id: UUID) -> list[str]:
        """The last words of the topics of its events: `requested`, `dispatched`, …"""
        events = self.lifecycle.events.get(command_id)
        return [type(event).TOPIC.removeprefix("wattaway.command-").removesuffix(".v1") for event in events]  # type: ignore[attr-defined]

    async def ended(self, command_id: UUID, within_s: float = 30) -> Command:
        """The command once it has ended."""
        await until(lambda: self.lifecycle.load(Command, command_id).terminal, within_s)
        return self.lifecycle.load(Command, command_id)


@asynccontextmanager
async def a_plug(
    world: World, name: str = "plug", *, faults: CommandFaults | None = None, token: str | None = None
) -> AsyncIterator[Plug]:
    """A socket that is online, until the end of the block."""
    device_id = world.device_id(name)
    faults = faults or CommandFaults()
    acted: list[WireCommand] = []
    device = SocketDevice(
        device_id,
        token=token or world.servers.admit([device_id])[device_id],
        boot="0badcafe",
        endpoint=Endpoint(world.settings.mqtt_host, world.settings.mqtt_port),
        gate=asyncio.Semaphore(5),
        tally=Tally(),
        timing=QUICK,
        on_act=acted.append,
        faults=faults,
    )
    link = asyncio.ensure_future(device.stay_connected())
    try:
        await until(lambda: device.online)
        yield Plug(device, faults, acted)
    finally:
        link.cancel()
        await asyncio.wait({link})


class RawSocket:
    """A socket that does and says what a test wants."""

    def __init__(self, device_id: str, client: MqttClient, heard: list[Message]) -> None:
        self.device_id, self.client, self.heard = device_id, client, heard

    def ids(self) -> list[UUID]:
        return [UUID(decode_command(message.payload).id) for message in self.heard]

    def say(self, report: StatusReport) -> None:
        retain = isinstance(report, PresenceReport)
        self.client.publish(encode_text(status_topic(self.device_id)), encode_status(report), retain=retain)


async def raw_socket(world: World, name: str, *, token: str | None = None) -> RawSocket:
    """One that says it is there; disconnect its client in the end."""
    device_id, heard, settings = world.device_id(name), list[Message](), world.settings
    token = token or world.servers.admit([device_id])[device_id]
    login = Login(settings.mqtt_host, settings.mqtt_port, device_id, username=device_id, password=token)
    client = await connect(login, on_message=heard.append)
    await client.subscribe([(commands_topic(device_id), 1)])
    socket = RawSocket(device_id, client, heard)
    socket.say(PresenceReport(True, "0badcafe"))
    return socket


@asynccontextmanager
async def commanding(world: World) -> AsyncIterator[Commands]:
    """The event store, its relay and the bridge, running; no dispatcher yet."""
    migrate(world.settings)
    for role in ("bridge", "relay"):
        world.start_role(role)
    with open_application(world.settings) as application:
        yield Commands(world, application)


@asynccontextmanager
async def dispatching(commands: Commands) -> AsyncIterator[DispatcherMetrics]:
    """A dispatcher that has its partitions."""
    stop, metrics, settings = asyncio.Event(), DispatcherMetrics(), commands.world.settings
    running = asyncio.ensure_future(
        run_dispatcher(
            commands.lifecycle,
            dispatcher_mqtt(settings),
            kafka_server(settings),
            metrics_port=0,
            stop=stop,
            metrics=metrics,
        )
    )
    try:
        await until(lambda: running.done() or bool(metrics.registry.get_sample_value("wattaway_dispatcher_partitions")))
        yield metrics
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=10)
        assert running.done(), "the dispatcher did not stop within 10 s"
        running.result()
