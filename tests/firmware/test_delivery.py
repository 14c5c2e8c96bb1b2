"""Delivery from MicroPython through real brokers, the real bridge and Kafka, on a network that does its worst."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from domain.events import READINGS_TOPIC, ReadingRecorded
from ops.wiring import migrate
from tests.bridge_run import RunningBridge, events_of, running_bridge
from tests.faults.fleet import ReadingId
from tests.faults.oracle import assert_held_once, wait_until_projected
from tests.firmware.fault_proxy import FaultProxy, fault_proxy
from tests.firmware.ntp_server import NtpServer, ntp_server
from tests.firmware.running_socket import RunningSocket, SocketPlan, running_socket
from tests.servers import World

BACKLOG = 1500


@dataclass
class Scene:
    """A socket's world: its network, its time server, the bridge behind the broker."""

    world: World
    bridge: RunningBridge
    network: FaultProxy
    ntp: NtpServer
    plan: SocketPlan

    async def logged(self) -> list[ReadingRecorded]:
        """Its readings as they stand in the log."""
        return await events_of(self.world, READINGS_TOPIC, self.plan.device_id, ReadingRecorded)


@asynccontextmanager
async def a_scene(world: World, folder: Path) -> AsyncIterator[Scene]:
    device_id = world.device_id("board")
    token = world.servers.admit([device_id])[device_id]
    async with (
        running_bridge(world) as bridge,
        fault_proxy(world.settings.mqtt_host, world.settings.mqtt_port) as network,
        ntp_server(NtpServer()) as ntp,
    ):
        plan = SocketPlan(device_id, token, network.port, [ntp.address], folder)
        yield Scene(world, bridge, network, ntp, plan)


async def after_more_receipts(socket: RunningSocket, count: int = 5) -> None:
    goal = socket.receipts + count
    await socket.until(lambda socket: socket.receipts >= goal)


def first_of_each(logged: Sequence[ReadingRecorded]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((one.boot, one.seq) for one in logged))


def assert_rising(seqs: Sequence[int]) -> None:
    assert list(seqs) == sorted(seqs), [pair for pair in pairwise(seqs) if pair[0] > pair[1]][:5]


async def suffer_the_network(scene: Scene, socket: RunningSocket) -> None:
    for _ in range(2):
        connections = socket.connections
        scene.network.reset_in_flight()
        await socket.until(lambda socket, before=connections: socket.connections > before)
        await after_more_receipts(socket)
    scene.network.lose_pubacks = 2
    await socket.until(lambda _: scene.network.lose_pubacks == 0)
    await after_more_receipts(socket)
    async with scene.network.blackhole():
        connections = socket.connections
        await socket.until(lambda socket: "no answer" in str(socket.state["told"][2]))
    await socket.until(lambda socket: socket.connections > connections)
    await after_more_receipts(socket)


@dataclass
class Silence:
    """How many readings a socket has stored since a receipt came last."""

    receipts: int = -1
    stored: int = 0

    def readings(self, socket: RunningSocket) -> int:
        if socket.receipts != self.receipts:
            self.receipts, self.stored = socket.receipts, len(socket.stored)
        return len(socket.stored) - self.stored


async def hold_back_without_kafka(scene: Scene, socket: RunningSocket) -> None:
    scene.world.servers.pause("kafka")
    try:
        # What Kafka had already taken is receipted still; then nothing is.
        held_back = Silence()
        await socket.until(lambda socket: held_back.readings(socket) >= 30 and socket.state["pending"] >= 30)
    finally:
        scene.world.servers.resume("kafka")
    await after_more_receipts(socket)


@pytest.mark.long_on_stack
async def test_nothing_is_lost_doubled_or_out_of_order_whatever_the_network_does(world: World, tmp_path: Path) -> None:
    migrate(world.settings)
    async with a_scene(world, tmp_path) as scene:
        scene.ntp.stratum = 0  # "Ask me later": so readings are stored before the time is known.
        async with running_socket(scene.plan, backlog=BACKLOG) as first:
            await first.until(lambda socket: len(socket.stored) > BACKLOG)
            scene.ntp.stratum = 2
            await first.until(lambda socket: 0 < socket.state["pending"] < 60)
            await suffer_the_network(scene, first)
            await hold_back_without_kafka(scene, first)
            await first.cut_power()
        before_the_broker_died = first_of_each(await scene.logged())
        async with running_socket(scene.plan) as second:
            await after_more_receipts(second)
            world.servers.kill9("mqtt")
            await asyncio.to_thread(world.start_role, "projector")
            world.servers.start("mqtt")
            await after_more_receipts(second)
            ended = await second.finish()
        logged = await scene.logged()
    assert ended["bad"] == 0
    assert first.said == second.said == []
    stored = first.stored + second.stored
    assert_nothing_is_missing(stored, first_of_each(logged))
    assert_order(before_the_broker_died)
    # What the network lost came by the next connection, not only by the next boot.
    assert_nothing_is_missing(first.stored[:-60], before_the_broker_died, more=61)
    assert_live_readings_were_not_starved(logged, first.stored[0][0])
    assert_all_are_dated(logged, first)
    await asyncio.to_thread(wait_until_projected, world)
    held = {ReadingId(scene.plan.device_id, boot, seq) for boot, seq in first_of_each(logged)}
    await asyncio.to_thread(assert_held_once, world, held)


@pytest.mark.long
async def test_eight_silent_seconds_lose_nothing_with_the_patience_of_a_real_socket(
    world: World, tmp_path: Path
) -> None:
    migrate(world.settings)
    async with a_scene(world, tmp_path) as scene:
        scene.plan.patience = {}
        async with running_socket(scene.plan) as socket:
            await after_more_receipts(socket)
            async with scene.network.blackhole():
                await asyncio.sleep(8)
            await after_more_receipts(socket)
            scene.network.lose_pubacks = 1
            await socket.until(lambda _: scene.network.lose_pubacks == 0)
            await after_more_receipts(socket)
            ended = await socket.finish(120)
        logged = first_of_each(await scene.logged())
    assert (ended["bad"], socket.said) == (0, [])
    assert_nothing_is_missing(socket.stored, logged, more=0)
    assert_rising([seq for _, seq in logged])


def assert_nothing_is_missing(stored: list[tuple[int, int]], logged: list[tuple[str, int]], *, more: int = 1) -> None:
    wanted = [(f"{boot:08x}", seq) for boot, seq in stored]
    missing = set(wanted) - set(logged)
    assert not missing, f"{len(missing)} of {len(wanted)} lost, such as {sorted(missing)[:5]}"
    # The power may go between storing and telling.
    assert len(set(logged) - set(wanted)) <= more


def assert_order(logged: list[tuple[str, int]]) -> None:
    """All rises, but for the long backlog of the start, which live readings overtook, and which rises by itself."""
    for boot in dict.fromkeys(boot for boot, _ in logged):
        newest, overtaken = -1, []
        for seq in (seq for of_boot, seq in logged if of_boot == boot):
            if seq < newest:
                overtaken.append(seq)
            newest = max(newest, seq)
        assert_rising(overtaken)
        assert not overtaken or overtaken[-1] < BACKLOG + 200


def assert_live_readings_were_not_starved(logged: Sequence[ReadingRecorded], boot: int) -> None:
    of_boot = [one for one in logged if one.boot == f"{boot:08x}"]
    end_of_backlog = next(index for index, one in enumerate(of_boot) if one.seq == BACKLOG - 1)
    meanwhile = [one for one in of_boot[:end_of_backlog] if one.measured_at > of_boot[0].received_at]
    assert len(meanwhile) >= 3


def assert_all_are_dated(logged: Sequence[ReadingRecorded], socket: RunningSocket) -> None:
    """Also what was stored before the time was known, by its uptime: one beginning of the boot dates them all."""
    assert all(one.up_ms is None for one in logged)
    up_ms = dict(zip(socket.stored, socket.up_ms, strict=True))
    began: list[tuple[int, int]] = []
    for one in logged:
        before_ms, after_ms = up_ms.get((int(one.boot, 16), one.seq), (None, None))
        if before_ms is not None and after_ms is not None:
            at_ms = round(one.measured_at.timestamp() * 1000)
            began.append((at_ms - after_ms, at_ms - before_ms))
    assert max(earliest for earliest, _ in began) <= min(latest for _, latest in began)
    assert abs(began[0][0] - socket.began_ms) < 60_000
