"""The whole firmware as it starts on the board: safe mode at a real broker, and updates that take their time."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.wire import commands_topic, status_topic
from ops.service_users import mqtt_dispatcher_password
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, encode_text
from tests.firmware.download_server import ImageServer, serving
from tests.firmware.micropython import FIRMWARE, RESTARTED, SIM, UPDATING_HEAP_KIB, command, environment
from tests.firmware.running_socket import RunningSocket
from tests.firmware.signed_images import BOARD, image, modulus, offer
from tests.servers import World
from tests.waiting import until

NOBODY = {"ssid": "Home", "password": "pass", "mqtt": "mqtt://127.0.0.1:1", "device_id": "d1", "token": "ab" * 32}
WATCHDOG_MS = 30_000
ERASE_MS = 400
"""At most, of the flash of the modules. Source: Winbond W25Q32JV datasheet, tSE."""
CHECK_MS = 3_000
"""Of a signature: 17 multiplications and divisions of 3072 bits in the interpreter; a guess that is much too long."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board as it leaves the bench: its description, and the key of its updates."""
    shutil.copy(FIRMWARE / "boards" / f"{BOARD}.json", tmp_path / "board.json")
    (tmp_path / "update_key.bin").write_bytes(modulus())
    return tmp_path


@asynccontextmanager
async def started(folder: Path, access: dict[str, Any], **plan: Any) -> AsyncIterator[RunningSocket]:
    told = {"access": {"ntp": [], **access}, "power_cut": False, **plan}
    (folder / "plan.json").write_text(json.dumps(told))
    process = await asyncio.create_subprocess_exec(
        *command(SIM / "started_socket.py", str(folder), heap_kib=UPDATING_HEAP_KIB),
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    socket = RunningSocket(process)
    try:
        yield socket
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await socket._reading


async def ended(socket: RunningSocket, within_s: float = 60) -> int:
    async with asyncio.timeout(within_s):
        status = await socket.process.wait()
    await socket._reading
    return status


@asynccontextmanager
async def dispatcher(world: World, heard: list[Message]) -> AsyncIterator[MqttClient]:
    settings = world.settings
    login = Login(
        settings.mqtt_host,
        settings.mqtt_port,
        settings.mqtt_dispatcher_client_id,
        username=settings.mqtt_dispatcher_username,
        password=mqtt_dispatcher_password(settings),
    )
    client = await connect(login, on_message=heard.append)
    try:
        await client.subscribe([(status_topic("+"), 1)])
        yield client
    finally:
        await client.disconnect()


async def answer(client: MqttClient, heard: list[Message], device_id: str, **order: Any) -> dict[str, Any]:
    """What the socket says to a command."""
    name = str(uuid4())
    told = {"id": name, "expires_at": 4_000_000_000_000, **order}
    client.publish(encode_text(commands_topic(device_id)), json.dumps(told).encode())

    def answers() -> list[dict[str, Any]]:
        said = [json.loads(message.payload) for message in list(heard)]
        return [one for one in said if one.get("command") == name]

    await until(lambda: bool(answers()), 20)
    return {key: value for key, value in answers()[0].items() if key not in ("command", "at")}


@pytest.mark.long_on_stack
async def test_three_failed_starts_end_in_safe_mode_that_only_obeys_and_updates(world: World, folder: Path) -> None:
    device_id = world.device_id("safe")
    token = world.servers.admit([device_id])[device_id]
    mqtt = f"mqtt://{world.settings.mqtt_host}:{world.settings.mqtt_port}"
    content, heard = image(), list[Message]()
    with serving(ImageServer(content, offer(content))) as server:
        access = {**NOBODY, "mqtt": mqtt, "device_id": device_id, "token": token}
        access["http"] = f"http://127.0.0.1:{server.port}"
        for number in range(3):
            async with started(folder, access, power_cut=not number, switched_on=True, crash_after_s=5) as failing:
                assert await ended(failing) == 1
            assert (failing.state["safe"], failing.state["relay"]) == (False, True), failing.said
        measured = failing.state
        async with dispatcher(world, heard) as engine, started(folder, access, check_after_s=8) as safe:
            await safe.until(lambda safe: safe.state.get("online"))
            assert safe.state["safe"]
            refused = {"result": "rejected", "reason": "safe_mode"}
            assert await answer(engine, heard, device_id, type="switch", relay=True) == refused
            assert await answer(engine, heard, device_id, type="toggle") == refused
            assert await answer(engine, heard, device_id, type="switch", relay=False) == {
                "result": "done",
                "relay": False,
            }
            assert await ended(safe) == RESTARTED, "the update is there, and the load is off"
        assert not safe.state["relay"]
        assert safe.state["stored"] == measured["stored"], "nothing is measured"
        assert server.tokens == {f"Bearer {token}"}
    async with started(folder, access) as trial:
        assert await ended(trial) == 0
    assert trial.state == {"runs": "1.2.0", "slot": 1, "trial": True}


BIG = {"main.py": b"import release\nRUNS = release.VERSION\n", "big.bin": bytes(range(256)) * 320}


@pytest.mark.parametrize(
    ("faults", "plan"),
    [
        ({}, {"erase_ms": ERASE_MS, "check_ms": CHECK_MS}),
        ({"stalls_at": 30_000, "pause_s": 1, "slow_downloads": 1}, {"patience_s": 6}),
        ({"stalls_at": 30_000, "slow_downloads": 1}, {"patience_s": 6}),
    ],
    ids=["slow flash and a slow processor", "a byte a second", "silence"],
)
async def test_an_update_starves_neither_watchdog_nor_protection_nor_metering(
    folder: Path, faults: dict[str, Any], plan: dict[str, Any]
) -> None:
    content = image(files=BIG)
    with serving(ImageServer(content, offer(content), **faults)) as server:
        access = {**NOBODY, "http": f"http://127.0.0.1:{server.port}"}
        more = {"switched_on": True, "check_after_s": 1, "overload_after_s": 4, **plan}
        async with started(folder, access, power_cut=True, **more) as socket:
            await socket.until(lambda socket: socket.state.get("flowed_ms"))
            assert not socket.state["trial"], "in the middle of the download"
            assert await ended(socket) == RESTARTED, "the update is there, and the load is off"
            told = socket.state
        assert len(server.ranges) == (2 if faults else 1)
    assert told["hungry_ms"] < WATCHDOG_MS / 4
    assert told["trip"] in ("over_current", "over_power")
    # While a sector is erased, or a signature is checked, nothing runs.
    assert told["flowed_ms"] <= 1_150 + told["late_ms"]
    assert told["late_ms"] < plan.get("check_ms", 0) + 1_000
    assert told["stored"] >= 6, "a reading a second"
    async with started(folder, access) as trial:
        assert await ended(trial) == 0
    assert trial.state["runs"] == "1.2.0"
