"""What the dispatcher may do, holds at most, leaves behind and survives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from domain.events import DEAD_LETTERS_TOPIC, DeadLettered
from domain.wire import PresenceReport, data_topic, encode_status, receipts_topic, status_topic
from ops.service_users import mqtt_dispatcher_password
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login, MqttRefused
from ops.simulator.mqtt_packets import Message, encode_text
from ops.simulator.obedience import CommandFaults
from tests.bridge_run import events_of
from tests.command_run import OFF, TOGGLE, Commands, a_plug, commanding, dispatching, until
from tests.servers import World

_OPEN = "wattaway_dispatcher_open_commands"


@pytest.fixture
async def commands(world: World) -> AsyncIterator[Commands]:
    async with commanding(world) as running:
        yield running


async def test_a_failed_command_becomes_a_dead_letter(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (0.1, 0.1, 0.1))
    monkeypatch.setattr("bridges.hearing.SETTLED_AFTER_MS", 0)
    async with dispatching(commands), a_plug(world, faults=CommandFaults(loses_answer=lambda: True)) as plug:
        command_id = commands.request(plug.device.device_id, OFF)
        assert (await commands.ended(command_id)).state == "failed"
        deadline = time.monotonic() + 20
        while not (letters := await events_of(world, DEAD_LETTERS_TOPIC, plug.device.device_id, DeadLettered)):
            assert time.monotonic() < deadline
        assert [(letter.reason, letter.origin) for letter in letters] == [("command_failed", f"command:{command_id}")]
        assert str(command_id).encode() in letters[0].raw_bytes()


@pytest.mark.long_on_stack
async def test_it_stops_in_time_while_kafka_stands_still(world: World, commands: Commands) -> None:
    async with dispatching(commands), a_plug(world) as plug:
        command_id = commands.request(plug.device.device_id, OFF)
        await until(lambda: "dispatched" in commands.events(command_id))
        world.servers.pause("kafka")
        # It has something to commit, and waits for the answer.
        await asyncio.sleep(1.5)
    world.servers.resume("kafka")


@pytest.mark.long_on_stack
async def test_with_too_many_open_commands_the_rest_waits_in_the_log(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridges.dispatcher.MOST_OPEN", 4)
    async with dispatching(commands) as metrics:
        device_id, most_open = world.device_id("plug"), 0.0

        def open_now() -> float:
            nonlocal most_open
            count = metrics.registry.get_sample_value(_OPEN) or 0
            most_open = max(most_open, count)
            return count

        asked = [commands.request(device_id, TOGGLE) for _ in range(4)]
        await until(lambda: open_now() == 4)
        asked += [commands.request(device_id, TOGGLE, expires_in_s=120) for _ in range(6)]
        async with a_plug(world) as plug:
            for command_id in asked:
                await until(lambda: open_now() >= 0)
                await commands.ended(command_id)
            assert plug.acted_ids == asked
        await until(lambda: open_now() == 0)


@pytest.mark.stack
@pytest.mark.long_on_stack
async def test_a_database_that_is_away_costs_no_command(stack_world: World) -> None:
    world = stack_world
    async with commanding(world) as commands, dispatching(commands) as metrics:
        command_id = commands.request(world.device_id("plug"), TOGGLE, expires_in_s=120)
        await until(lambda: metrics.registry.get_sample_value(_OPEN) == 1)
        token = world.servers.admit([world.device_id("plug")])[world.device_id("plug")]
        world.servers.kill9("database")
        async with a_plug(world, token=token) as plug:
            await until(
                lambda: bool(
                    metrics.registry.get_sample_value("wattaway_dispatcher_retries_total", {"dependency": "database"})
                )
            )
            assert plug.acted == []
            world.servers.start("database")
            assert (await commands.ended(command_id, within_s=60)).state == "acknowledged"
            assert plug.acted_ids == [command_id]


@pytest.mark.long_on_stack
async def test_sigterm_ends_the_role_in_order_while_commands_are_open(world: World, commands: Commands) -> None:
    role = world.start_role("dispatcher")
    command_id = commands.request(world.device_id("plug"), OFF)
    started_s = time.monotonic()
    role.stop()
    assert role.exit_code() == 0
    assert time.monotonic() - started_s < 10
    world.start_role("dispatcher")
    async with a_plug(world) as plug:
        await commands.ended(command_id)
        assert plug.acted_ids == [command_id]


async def _as_dispatcher(world: World, heard: list[Message]) -> MqttClient:
    settings = world.settings
    return await connect(
        Login(
            settings.mqtt_host,
            settings.mqtt_port,
            settings.mqtt_dispatcher_client_id,
            username=settings.mqtt_dispatcher_username,
            password=mqtt_dispatcher_password(settings),
        ),
        on_message=heard.append,
    )


@pytest.mark.long_on_stack
async def test_the_brokers_let_the_dispatcher_hear_presence_and_nothing_else(world: World) -> None:
    device_id, heard = world.device_id("plug"), list[Message]()
    for topic in (data_topic("+"), receipts_topic("+"), "#"):
        try:
            # Mosquitto grants it, and delivers nothing of it.
            client = await _as_dispatcher(world, heard)
            await client.subscribe([(status_topic("+"), 1), (topic, 1)])
        except MqttRefused:
            client.abort()
            client = await _as_dispatcher(world, heard)
            await client.subscribe([(status_topic("+"), 1)])
        heard.clear()
        token = world.servers.admit([device_id])[device_id]
        settings = world.settings
        device = await connect(
            Login(settings.mqtt_host, settings.mqtt_port, device_id, username=device_id, password=token)
        )
        device.publish(encode_text(data_topic(device_id)), b"{}")
        device.publish(encode_text(status_topic(device_id)), encode_status(PresenceReport(True)))
        await until(lambda: any(message.topic == status_topic(device_id) for message in heard))
        assert {message.topic.rsplit("/", 1)[1] for message in heard} == {"status"}
        await device.disconnect()
        await client.disconnect()
