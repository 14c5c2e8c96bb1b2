"""On both real brokers: a device is let in with the token that counts now, as itself, and reaches its own topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from domain.lifecycle.cause import Cause, system_cause
from domain.lifecycle.sockets import NewDevice
from domain.wire import PresenceReport, commands_topic, data_topic, encode_status, receipts_topic, status_topic
from ops.application import Application, open_application
from ops.embedded.nats import mqtt_lets_in
from ops.service_users import mqtt_dispatcher_password, mqtt_password
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login, MqttRefused
from ops.simulator.mqtt_packets import Message, Will, encode_text
from tests.servers import World

# The broker retains it, and later tests hear it.
GONE = encode_status(PresenceReport(False))
_ENDED_WITHIN_S = 2.0
_OPEN_WITHIN_S = 10.0


@pytest.fixture
def application(world: World) -> Iterator[Application]:
    """What decides, on the event store that the session's broker follows."""
    with open_application(world.servers.door.settings) as application:
        yield application


def cause() -> Cause:
    return system_cause("test", datetime.now(UTC))


def lets_in(world: World, device_id: str, token: str, *, client_id: str | None = None) -> bool:
    address = (world.settings.mqtt_host, world.settings.mqtt_port)
    return mqtt_lets_in(address, device_id, token, client_id=client_id or device_id)


def wait_until_let_in(world: World, device_id: str, token: str) -> float:
    """How long it took."""
    began_s = time.monotonic()
    while not lets_in(world, device_id, token):
        assert time.monotonic() - began_s < _OPEN_WITHIN_S, f"{device_id} is not let in"
        time.sleep(0.02)
    return time.monotonic() - began_s


async def connected(
    world: World,
    device_id: str,
    token: str,
    *,
    will: Will | None = None,
    on_message: Callable[[Message], None] = lambda _message: None,
) -> MqttClient:
    login = Login(
        world.settings.mqtt_host,
        world.settings.mqtt_port,
        client_id=device_id,
        username=device_id,
        password=token,
        will=will,
    )
    return await connect(login, on_message=on_message)


@asynccontextmanager
async def listening(world: World, heard: list[tuple[str, bytes]]) -> AsyncIterator[MqttClient]:
    """The bridge, as it hears what devices say."""
    settings = world.settings

    def note(message: Message) -> None:
        if world.marker in message.topic:
            heard.append((message.topic, message.payload))

    client = await connect(
        Login(
            settings.mqtt_host,
            settings.mqtt_port,
            client_id=settings.mqtt_client_id,
            username=settings.mqtt_username,
            password=mqtt_password(settings),
        ),
        on_message=note,
    )
    await client.subscribe([("devices/+/data", 1), ("devices/+/status", 1)])
    yield client
    await client.disconnect()


async def dispatcher(world: World) -> MqttClient:
    """Connected as the role that sends commands."""
    settings = world.settings
    return await connect(
        Login(
            settings.mqtt_host,
            settings.mqtt_port,
            client_id=settings.mqtt_dispatcher_client_id,
            username=settings.mqtt_dispatcher_username,
            password=mqtt_dispatcher_password(settings),
        )
    )


async def until(holds: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def settled(client: MqttClient) -> None:
    """Once the broker has taken what was sent, or has ended the connection for it."""
    await until(lambda: client.closed.done() or not client.in_flight)
    await client.disconnect()


def register(application: Application, device_ids: list[str], world: World) -> dict[str, str]:
    """Tokens of devices that were registered this moment, in a tenant of the test's own."""
    tenant_id, _ = application.tenancy.found(cause(), name=world.marker, owner_id=None)
    new = [NewDevice(device_id, device_id) for device_id in device_ids]
    return dict(application.sockets.register(tenant_id, new, cause())[0])


def test_a_device_connects_at_once_after_it_was_registered(world: World, application: Application) -> None:
    device_id = world.device_id()
    assert not lets_in(world, device_id, "0" * 64)
    token = register(application, [device_id], world)[device_id]
    if world.servers.variant == "embedded":
        assert lets_in(world, device_id, token)
    else:
        assert wait_until_let_in(world, device_id, token) < _ENDED_WITHIN_S


def test_only_its_own_token_and_its_own_client_id_let_a_device_in(world: World) -> None:
    one, other = world.device_id("one"), world.device_id("other")
    tokens = world.servers.admit([one, other])
    assert lets_in(world, one, tokens[one])
    assert not lets_in(world, one, tokens[other])
    assert not lets_in(world, one, "")
    assert not lets_in(world, world.device_id("nobody"), tokens[one])


async def test_a_client_id_of_another_device_does_not_end_that_ones_session(world: World) -> None:
    """NATS refuses it; Mosquitto takes the user as client id, whatever the client says."""
    one, other = world.device_id("one"), world.device_id("other")
    tokens = world.servers.admit([one, other])
    victim = await connected(world, other, tokens[other])
    got_in = await asyncio.to_thread(lets_in, world, one, tokens[one], client_id=other)
    assert got_in == (world.servers.variant == "stack")
    heard: list[tuple[str, bytes]] = []
    async with listening(world, heard):
        victim.publish(encode_text(data_topic(other)), b"still here")
        await until(lambda: heard == [(data_topic(other), b"still here")])
    assert not victim.closed.done()
    await victim.disconnect()


async def test_a_device_can_neither_speak_nor_listen_as_another(world: World) -> None:
    one, other = world.device_id("one"), world.device_id("other")
    tokens = world.servers.admit([one, other])
    heard: list[tuple[str, bytes]] = []
    overheard: list[str] = []
    async with listening(world, heard) as bridge:
        for topic in (data_topic(other), status_topic(other), receipts_topic(one), commands_topic(one)):
            forger = await connected(world, one, tokens[one])
            forger.publish(encode_text(topic), b"forged")
            await settled(forger)
        listener = await connected(world, one, tokens[one], on_message=lambda message: overheard.append(message.topic))
        for topic in (commands_topic(other), receipts_topic(other), "devices/+/commands", "#", data_topic(other)):
            with suppress(MqttRefused):  # Mosquitto grants it, and hands nothing out.
                await listener.subscribe([(topic, 0)])
        await listener.subscribe([(receipts_topic(one), 0)])
        sender = await dispatcher(world)
        sender.publish(encode_text(commands_topic(other)), b"{}")
        await settled(sender)
        for topic in (receipts_topic(other), receipts_topic(one)):
            bridge.publish(encode_text(topic), b"{}")
        await until(lambda: receipts_topic(one) in overheard)
        listener.publish(encode_text(data_topic(one)), b"last")
        await until(lambda: (data_topic(one), b"last") in heard)
        await listener.disconnect()
    assert heard == [(data_topic(one), b"last")]
    assert set(overheard) == {receipts_topic(one)}


async def test_only_the_dispatcher_commands_and_only_the_bridge_receipts(world: World) -> None:
    device_id, heard = world.device_id(), list[tuple[str, bytes]]()
    token = world.servers.admit([device_id])[device_id]
    listener = await connected(
        world, device_id, token, on_message=lambda message: heard.append((message.topic, message.payload))
    )
    await listener.subscribe([(commands_topic(device_id), 1), (receipts_topic(device_id), 1)])
    async with listening(world, []) as bridge:
        bridge.publish(encode_text(commands_topic(device_id)), b"forged")
        await settled(bridge)
    forger = await dispatcher(world)
    forger.publish(encode_text(receipts_topic(device_id)), b"forged")
    await settled(forger)
    async with listening(world, []) as bridge:
        bridge.publish(encode_text(receipts_topic(device_id)), b"{}")
        sender = await dispatcher(world)
        sender.publish(encode_text(commands_topic(device_id)), b"{}")
        await until(lambda: len(heard) >= 2)
        await settled(sender)
    assert sorted(heard) == [(commands_topic(device_id), b"{}"), (receipts_topic(device_id), b"{}")]
    await listener.disconnect()


async def test_no_last_will_reaches_another_devices_topic(world: World) -> None:
    one, other = world.device_id("one"), world.device_id("other")
    tokens = world.servers.admit([one, other])
    heard: list[tuple[str, bytes]] = []
    async with listening(world, heard):
        try:
            forger = await connected(world, one, tokens[one], will=Will(status_topic(other), b"forged"))
            forger.abort()
        except (MqttRefused, ConnectionError):
            pass  # A broker may refuse it at once.
        honest = await connected(world, one, tokens[one], will=Will(status_topic(one), GONE))
        honest.abort()
        await until(lambda: (status_topic(one), GONE) in heard)
    assert heard == [(status_topic(one), GONE)]


@pytest.mark.parametrize("what", ["rotated", "decommissioned"])
async def test_a_token_that_counts_no_more_ends_its_session_and_nobody_elses(
    world: World, application: Application, what: str
) -> None:
    one, other = world.device_id("one"), world.device_id("other")
    tokens = register(application, [one, other], world)
    for device_id in (one, other):
        await asyncio.to_thread(wait_until_let_in, world, device_id, tokens[device_id])
    ending, staying = await connected(world, one, tokens[one]), await connected(world, other, tokens[other])

    if what == "rotated":
        new_token, _ = application.sockets.rotate_token(one, cause())
    else:
        application.sockets.decommission(one, cause())
    await asyncio.wait_for(asyncio.shield(ending.closed), _ENDED_WITHIN_S)

    assert not await asyncio.to_thread(lets_in, world, one, tokens[one])
    if what == "rotated":
        again = await connected(world, one, new_token)
        # Longer than until the second look for sessions that came at the same time.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(again.closed), 1.5)
        await again.disconnect()
    assert not staying.closed.done()
    heard: list[tuple[str, bytes]] = []
    async with listening(world, heard):
        staying.publish(encode_text(data_topic(other)), b"still here")
        await until(lambda: heard == [(data_topic(other), b"still here")])
    await staying.disconnect()


def test_a_device_in_use_again_needs_its_new_token(world: World, application: Application) -> None:
    device_id = world.device_id()
    tenant_id, _ = application.tenancy.found(cause(), name="t", owner_id=None)
    ((_, old),), _ = application.sockets.register(tenant_id, [NewDevice(device_id, "it")], cause())
    wait_until_let_in(world, device_id, old)
    application.sockets.decommission(device_id, cause())
    ((_, new),), _ = application.sockets.register(tenant_id, [NewDevice(device_id, "it")], cause())
    wait_until_let_in(world, device_id, new)
    assert not lets_in(world, device_id, old)


def test_a_thousand_devices_registered_in_one_go_may_all_connect_soon(world: World, application: Application) -> None:
    device_ids = [f"d{number:04}-{world.marker}" for number in range(1000)]
    began_s = time.monotonic()
    tokens = register(application, device_ids, world)
    wait_until_let_in(world, device_ids[-1], tokens[device_ids[-1]])
    assert time.monotonic() - began_s < 30
    for device_id in device_ids[::100]:
        assert lets_in(world, device_id, tokens[device_id])


def test_after_its_restart_the_broker_still_knows_whom_to_let_in(world: World, application: Application) -> None:
    known, gone = world.device_id("known"), world.device_id("gone")
    tokens = register(application, [known, gone], world)
    wait_until_let_in(world, gone, tokens[gone])
    world.servers.kill9("mqtt")
    application.sockets.decommission(gone, cause())
    late = world.device_id("late")
    late_token = register(application, [late], world)[late]
    world.servers.start("mqtt")
    wait_until_let_in(world, known, tokens[known])
    wait_until_let_in(world, late, late_token)
    assert not lets_in(world, gone, tokens[gone])


def test_what_was_decided_while_nobody_told_the_broker_counts_once_somebody_does(
    world: World, application: Application
) -> None:
    keeper = "device-auth" if world.servers.variant == "embedded" else "broker-accounts"
    device_id = world.device_id()
    old = register(application, [device_id], world)[device_id]
    wait_until_let_in(world, device_id, old)
    with asyncio.Runner() as runner:
        session = runner.run(connected(world, device_id, old))
        world.servers.kill9(keeper)
        new, _ = application.sockets.rotate_token(device_id, cause())
        world.servers.start(keeper)
        runner.run(asyncio.wait_for(_ended(session), _OPEN_WITHIN_S))
    wait_until_let_in(world, device_id, new)
    assert not lets_in(world, device_id, old)


async def _ended(session: MqttClient) -> None:
    await asyncio.shield(session.closed)


def test_known_devices_connect_while_the_event_store_is_away(stack_world: World) -> None:
    """SQLite cannot be away: it is a file in the data dir of the broker that asks."""
    device_id = stack_world.device_id()
    token = stack_world.servers.admit([device_id])[device_id]
    stack_world.servers.kill9("database")
    try:
        assert lets_in(stack_world, device_id, token)
        assert not lets_in(stack_world, device_id, "0" * 64)
    finally:
        stack_world.servers.start("database")
    late = stack_world.device_id("late")
    assert lets_in(stack_world, late, stack_world.servers.admit([late])[late])
