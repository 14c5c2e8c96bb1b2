"""Commands reach their sockets and come to one ending, on both brokers, whatever sockets and roles do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from domain.lifecycle.cause import system_cause
from domain.lifecycle.commands import Command, Order
from domain.lifecycle.devices import Device, DeviceConfiguration, device_aggregate_id
from domain.lifecycle.tokens import device_token_hashes, new_token
from domain.wire import CommandReport
from ops.simulator.obedience import CommandFaults
from tests.command_run import OFF, ON, TOGGLE, Commands, a_plug, commanding, dispatching, raw_socket, until
from tests.servers import World


@pytest.fixture
async def commands(world: World) -> AsyncIterator[Commands]:
    async with commanding(world) as running:
        yield running


async def test_a_socket_that_is_online_switches_and_answers(world: World, commands: Commands) -> None:
    async with dispatching(commands), a_plug(world) as plug:
        for order, relay in ((OFF, False), (ON, True), (TOGGLE, False)):
            command_id = commands.request(plug.device.device_id, order)
            await commands.ended(command_id)
            assert commands.events(command_id) == ["requested", "dispatched", "acknowledged"]
            assert plug.device.obedience.relay is relay
        assert len(plug.acted) == 3


@pytest.mark.long_on_stack
async def test_the_correlation_id_goes_from_the_request_to_the_answer(world: World, commands: Commands) -> None:
    async with dispatching(commands), a_plug(world) as plug:
        command_id = commands.request(plug.device.device_id, OFF)
        await commands.ended(command_id)
        events: list[Command.Event] = list(commands.lifecycle.events.get(command_id))  # type: ignore[arg-type]
        assert [event.actor for event in events] == [
            "user:tester",
            "system:dispatcher",
            f"device:{plug.device.device_id}",
        ]
        assert len({event.correlation_id for event in events}) == 1


@pytest.mark.long_on_stack
async def test_a_socket_that_is_away_gets_its_command_when_it_comes_back(world: World, commands: Commands) -> None:
    async with dispatching(commands) as metrics:
        command_id = commands.request(world.device_id("plug"), OFF)
        await until(lambda: metrics.registry.get_sample_value("wattaway_dispatcher_open_commands") == 1)
        assert commands.events(command_id) == ["requested"]
        async with a_plug(world) as plug:
            await commands.ended(command_id)
            assert plug.acted_ids == [command_id]


@pytest.mark.long_on_stack
async def test_what_has_expired_is_never_sent(world: World, commands: Commands) -> None:
    async with dispatching(commands):
        command_id = commands.request(world.device_id("plug"), OFF, expires_in_s=0.5)
        assert (await commands.ended(command_id)).state == "expired"
        async with a_plug(world) as plug:
            later = commands.request(plug.device.device_id, ON)
            await commands.ended(later)
            assert plug.acted_ids == [later]
        assert commands.events(command_id) == ["requested", "expired"]


@pytest.mark.long_on_stack
async def test_a_socket_that_never_answers_is_asked_three_times(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (0.2, 0.4, 0.8))
    monkeypatch.setattr("bridges.hearing.SETTLED_AFTER_MS", 0)
    asked = 0

    def lose() -> bool:
        nonlocal asked
        asked += 1
        return True

    async with dispatching(commands), a_plug(world, faults=CommandFaults(loses_command=lose)) as plug:
        command_id = commands.request(plug.device.device_id, OFF)
        assert (await commands.ended(command_id)).state == "failed"
        assert commands.events(command_id) == ["requested", *["dispatched"] * 3, "failed"]
        assert (asked, plug.acted) == (3, [])


@pytest.mark.long_on_stack
async def test_a_lost_command_does_not_come_back_after_a_newer_one(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridges.hearing.SETTLED_AFTER_MS", 0)
    lost = iter([True])
    faults = CommandFaults(loses_command=lambda: next(lost, False))
    async with dispatching(commands), a_plug(world, faults=faults) as plug:
        switch_on = commands.request(plug.device.device_id, ON)
        await until(lambda: commands.events(switch_on) == ["requested", "dispatched"])
        switch_off = commands.request(plug.device.device_id, OFF)
        assert (await commands.ended(switch_off)).state == "acknowledged"
        assert (await commands.ended(switch_on)).state == "failed"
        assert plug.acted_ids == [switch_off]
        assert plug.device.obedience.relay is False


@pytest.mark.long_on_stack
async def test_a_lost_answer_makes_nobody_act_twice(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (0.2, 5, 5))
    losses = iter([True])
    faults = CommandFaults(loses_answer=lambda: next(losses, False))
    async with dispatching(commands), a_plug(world, faults=faults) as plug:
        command_id = commands.request(plug.device.device_id, TOGGLE)
        assert (await commands.ended(command_id)).state == "acknowledged"
        assert commands.events(command_id) == ["requested", "dispatched", "dispatched", "acknowledged"]
        assert plug.acted_ids == [command_id]


@pytest.mark.long_on_stack
async def test_more_commands_than_a_socket_remembers_are_done_once_each(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for a dispatcher, and every one of them is sent twice."""
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (1, 20, 20))
    monkeypatch.setattr("bridges.open_commands.MOST_AT_ONCE", 8)
    monkeypatch.setattr("ops.simulator.obedience.REMEMBERED_IDS", 16)
    async with a_plug(world, faults=CommandFaults(answer_after_s=1.5)) as plug:
        asked = [commands.request(plug.device.device_id, TOGGLE, expires_in_s=90) for _ in range(30)]
        async with dispatching(commands):
            for command_id in asked:
                assert (await commands.ended(command_id)).state == "acknowledged"
        assert plug.acted_ids == asked


@pytest.mark.long_on_stack
async def test_the_last_attempt_waits_for_a_socket_that_is_heard(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the broker's death: it has a socket as online that is not back yet, and publishes no last will."""
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (0.3, 0.3, 20))
    cut_off = await raw_socket(world, "plug")
    await cut_off.client.disconnect()
    async with dispatching(commands):
        command_id = commands.request(cut_off.device_id, OFF)
        await until(lambda: commands.events(command_id) == ["requested", "dispatched", "dispatched"])
        await asyncio.sleep(1.5)  # Much longer than that attempt is waited for.
        assert commands.events(command_id) == ["requested", "dispatched", "dispatched"]
        async with a_plug(world) as plug:
            assert (await commands.ended(command_id)).state == "acknowledged"
            assert plug.acted_ids == [command_id]


@pytest.mark.long_on_stack
async def test_a_socket_restarts_once_and_comes_back(world: World, commands: Commands) -> None:
    async with dispatching(commands), a_plug(world) as plug:
        commands_before = plug.device.boot
        command_id = commands.request(plug.device.device_id, Order("restart"))
        await commands.ended(command_id)
        await until(lambda: plug.device.boot != commands_before and plug.device.online)
        after = commands.request(plug.device.device_id, Order("identify"))
        await commands.ended(after)
        assert plug.acted_ids == [command_id, after]


async def test_a_socket_with_an_old_configuration_gets_the_desired_one(world: World, commands: Commands) -> None:
    device_id, now = world.device_id("plug"), datetime.now(UTC)
    cause = system_cause("test", now)
    tenant_id, _ = commands.application.tenancy.found(cause, name="home", owner_id=None)
    device = Device.register(device_id, tenant_id, device_token_hashes(new_token()), cause, name_sealed="")
    device.configure(DeviceConfiguration(interval_ms=2000), cause)
    commands.lifecycle.store(device)
    async with dispatching(commands) as metrics, a_plug(world) as plug:
        await until(lambda: plug.device.obedience.config_version == 1)
        assert plug.device.obedience.config == DeviceConfiguration(interval_ms=2000)
        await until(lambda: metrics.registry.get_sample_value("wattaway_dispatcher_open_commands") == 0)
        assert len(plug.acted) == 1
        commands.lifecycle.change(
            Device, device_aggregate_id(device_id), lambda one: one.configure(DeviceConfiguration(), cause)
        )
        plug.device.break_connection()
        await until(lambda: plug.device.obedience.config_version == 2)
        assert len(plug.acted) == 2


@pytest.mark.long_on_stack
async def test_commands_are_never_retained(world: World, commands: Commands) -> None:
    async with dispatching(commands):
        first, second = [], []
        for ids in (first, second):
            socket = await raw_socket(world, "plug")
            ids.append(commands.request(socket.device_id, OFF))
            await until(lambda socket=socket: bool(socket.heard))
            assert socket.ids() == ids
            assert not socket.heard[0].retain
            socket.say(CommandReport(str(ids[0]), "done"))
            await commands.ended(ids[0])
            await socket.client.disconnect()


@pytest.mark.long_on_stack
async def test_doubled_and_contradicting_answers_change_nothing(world: World, commands: Commands) -> None:
    async with dispatching(commands):
        socket = await raw_socket(world, "plug")
        command_id = commands.request(socket.device_id, OFF)
        await until(lambda: bool(socket.heard))
        for result in ("done", "done", "rejected", "done"):
            socket.say(CommandReport(str(command_id), result))  # type: ignore[arg-type]
        marker = commands.request(socket.device_id, ON)
        await until(lambda: len(socket.heard) == 2)
        socket.say(CommandReport(str(marker), "rejected", reason="no"))
        assert (await commands.ended(marker)).state == "rejected"
        assert commands.events(command_id) == ["requested", "dispatched", "acknowledged"]
        await socket.client.disconnect()


@pytest.mark.long_on_stack
async def test_an_answer_ends_its_command_while_kafka_is_frozen(world: World, commands: Commands) -> None:
    async with dispatching(commands):
        socket = await raw_socket(world, "plug")
        command_id = commands.request(socket.device_id, OFF)
        await until(lambda: bool(socket.heard))
        world.servers.pause("kafka")
        try:
            socket.say(CommandReport(str(command_id), "done"))
            assert (await commands.ended(command_id, within_s=5)).state == "acknowledged"
        finally:
            world.servers.resume("kafka")
        await socket.client.disconnect()


async def test_no_attempt_is_counted_while_the_mqtt_broker_is_frozen(
    world: World, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.lifecycle.commands.ANSWER_WITHIN_S", (2.0, 2.0, 2.0))
    monkeypatch.setattr("bridges.hearing.SETTLED_AFTER_MS", 0)
    async with dispatching(commands), a_plug(world) as plug:
        world.servers.pause("mqtt")
        try:
            lasting = commands.request(plug.device.device_id, OFF, expires_in_s=60)
            expiring = commands.request(plug.device.device_id, Order("identify"), expires_in_s=4)
            await until(lambda: commands.events(expiring)[-1] == "dispatched")
            # Longer than three attempts, and than the second one is valid.
            await asyncio.sleep(9)
            for command_id in (lasting, expiring):
                # A second attempt only if storing the first one took so long that no PUBACK could be missed yet.
                assert commands.events(command_id)[1:] in (["dispatched"], ["dispatched"] * 2)
        finally:
            world.servers.resume("mqtt")
        assert (await commands.ended(lasting)).state == "acknowledged"
        assert commands.events(lasting).count("dispatched") <= 3
        # The socket got it too late, and says so.
        assert (await commands.ended(expiring)).state in ("rejected", "expired")
        assert plug.acted_ids == [lasting]


@pytest.mark.long_on_stack
async def test_a_socket_cannot_answer_for_another(world: World, commands: Commands) -> None:
    async with dispatching(commands) as metrics:
        liar = await raw_socket(world, "liar")
        command_id = commands.request(world.device_id("plug"), OFF)
        liar.say(CommandReport(str(command_id), "done"))
        liar.say(CommandReport("no-uuid", "done"))
        ignored = "wattaway_dispatcher_ignored_reports_total"
        await until(lambda: metrics.registry.get_sample_value(ignored) == 2)
        assert commands.events(command_id) == ["requested"]
        await liar.client.disconnect()


@pytest.mark.long_on_stack
async def test_a_dispatcher_goes_on_where_the_last_one_stopped(world: World, commands: Commands) -> None:
    device_id = world.device_id("plug")
    async with dispatching(commands) as metrics:
        early = commands.request(device_id, OFF)
        await until(lambda: metrics.registry.get_sample_value("wattaway_dispatcher_open_commands") == 1)
    meanwhile = commands.request(device_id, ON)
    async with dispatching(commands), a_plug(world) as plug:
        await asyncio.gather(commands.ended(early), commands.ended(meanwhile))
        assert plug.acted_ids == [early, meanwhile]
