"""A dispatcher may die between any two steps: no command is lost, and no socket acts twice."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from domain.lifecycle.commands import Command
from ops.child import Child
from ops.embedded.ports import free_ports
from ops.simulator.obedience import CommandFaults
from tests.command_run import TOGGLE, Commands, Plug, a_plug, commanding, dispatching, until
from tests.servers import World

_ROOT = Path(__file__).parents[2]
_BRIDGES = _ROOT / "bridges"
# In their order; a test below finds one that is missing here.
STEPS = (
    "request read",
    "dispatch stored",
    "command published",
    "answer read",
    "answer stored",
    "offsets committed",
)

pytestmark = pytest.mark.faults


def test_no_step_of_the_dispatcher_is_left_out() -> None:
    sources = "".join(
        (_BRIDGES / name).read_text("utf-8") for name in ("dispatcher.py", "dispatcher_log.py", "answers.py")
    )
    assert sorted(re.findall(r'_on_step\("([a-z ]+)"\)', sources)) == sorted(STEPS)


class _Load:
    """Commands to some sockets, one after the other, until `stop`."""

    def __init__(self, commands: Commands, plugs: list[Plug]) -> None:
        self._commands, self._plugs = commands, plugs
        self.asked: list[UUID] = []
        self._stopping = False
        self.loading: asyncio.Task[None]

    async def stop(self) -> None:
        """Ask no more; what is being asked for is still noted."""
        self._stopping = True
        await self.loading

    async def run(self) -> None:
        while not self._stopping:
            for plug in self._plugs:
                command_id = await asyncio.to_thread(
                    self._commands.request, plug.device.device_id, TOGGLE, expires_in_s=150
                )
                self.asked.append(command_id)
                await asyncio.sleep(0.05)  # The pace of the load.

    async def judge(self) -> None:
        """Every command was done by its socket, once, and ended so."""
        lifecycle = self._commands.lifecycle
        for command_id in self.asked:
            await self._commands.ended(command_id, within_s=150)
            command = lifecycle.load(Command, command_id)
            assert command.state == "acknowledged", self._commands.events(command_id)
        acted = Counter(command_id for plug in self._plugs for command_id in plug.acted_ids)
        assert acted == Counter(self.asked)
        for plug in self._plugs:
            assert plug.device.obedience.relay is (len(plug.acted) % 2 == 0)


def _doomed(world: World, step: str) -> Child:
    whole = world.role("dispatcher").spec
    argv = [sys.executable, "-m", "tests.faults.doomed_dispatcher", step, "3"]
    return Child(replace(whole, argv=argv, env={**whole.env, "PYTHONPATH": str(_ROOT)}))


async def _with_load(world: World, stack: AsyncExitStack, commands: Commands) -> _Load:
    plugs = [await stack.enter_async_context(a_plug(world, f"plug{number}")) for number in range(3)]
    load = _Load(commands, plugs)
    load.loading = asyncio.create_task(load.run())
    stack.callback(load.loading.cancel)
    return load


@pytest.mark.long
async def test_no_command_is_lost_or_done_twice_when_the_dispatcher_is_killed_between_any_two_steps(
    world: World,
) -> None:
    async with commanding(world) as commands, AsyncExitStack() as stack:
        load = await _with_load(world, stack, commands)
        for step in STEPS:
            doomed = _doomed(world, step)
            doomed.spawn()
            stack.callback(doomed.kill)
            await until(lambda doomed=doomed: not doomed.is_running(), within_s=40)  # type: ignore[misc]
            assert doomed.exit_code() == -signal.SIGKILL, f"it outlived {step!r}{doomed.last_words()}"
        await load.stop()
        world.start_role("dispatcher")
        await load.judge()


@pytest.mark.long
async def test_no_command_is_lost_or_done_twice_when_the_servers_die_under_load(world: World) -> None:
    async with commanding(world) as commands, AsyncExitStack() as stack:
        world.start_role("dispatcher")
        load = await _with_load(world, stack, commands)
        for server in ("mqtt", "kafka", "redis"):
            before = len(load.asked)
            await until(lambda before=before: len(load.asked) > before + 20)  # type: ignore[misc]
            world.servers.kill9(server)
            world.servers.start(server)
        await load.stop()
        await load.judge()


@pytest.mark.long
async def test_no_command_ends_while_its_answer_waits_for_a_frozen_kafka(
    embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the dispatcher had had no MQTT connection when the answers came: only the log has them."""
    world, frozen = embedded_world, False
    monkeypatch.setattr("bridges.dispatcher.Dispatcher.answer_heard", lambda *_: None)
    faults = CommandFaults(loses_answer=lambda: not frozen)
    async with commanding(world) as commands, dispatching(commands), AsyncExitStack() as stack:
        plugs = [await stack.enter_async_context(a_plug(world, name, faults=faults)) for name in ("one", "other")]
        asked = [
            commands.request(plug.device.device_id, TOGGLE, expires_in_s=expires_in_s)
            for plug, expires_in_s in zip(plugs, (8, 120), strict=True)
        ]
        await until(lambda: all(plug.acted for plug in plugs))
        world.servers.pause("kafka")
        stack.callback(world.servers.resume, "kafka")
        frozen = True
        await asyncio.sleep(20)  # Longer than three attempts take.
        for command_id in asked:
            assert set(commands.events(command_id)) == {"requested", "dispatched"}
        world.servers.resume("kafka")
        for command_id, plug in zip(asked, plugs, strict=True):
            assert (await commands.ended(command_id)).state == "acknowledged"
            assert plug.acted_ids == [command_id]


@pytest.mark.long
async def test_two_dispatchers_share_the_sockets_and_one_takes_over_when_the_other_dies(
    embedded_world: World,
) -> None:
    world = embedded_world
    async with commanding(world) as commands, AsyncExitStack() as stack:
        first = world.start_role("dispatcher")
        port = str(free_ports(1)[0])
        other = {"WATTAWAY_MQTT_DISPATCHER_CLIENT_ID": "dispatcher-2", "WATTAWAY_DISPATCHER_METRICS_PORT": port}
        world.start_role("dispatcher", env=other)
        load = await _with_load(world, stack, commands)
        await until(lambda: len(load.asked) > 20)
        first.kill()
        await until(lambda: len(load.asked) > 60)
        await load.stop()
        await load.judge()
