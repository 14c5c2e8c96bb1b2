"""The floor under the MQTT side: the same broker with a bare publisher and a bare subscriber, no engine behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from domain.wire import DATA_FILTER, data_topic
from ops.bench.ways import Way
from ops.service_users import mqtt_password
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, encode_text

_WITHIN_S = 30.0
# mosquitto_sub tells a pipe nothing until its buffer is full, not even that it has subscribed.
_SUBSCRIBED_AFTER_S = 1.0
_WINDOW = 8_000
_BURST = 16
PAYLOAD = (
    b'{"boot":"0badcafe","seq":17,"at":1764000000123,"voltage_mv":230100,"current_ma":431,"power_mw":98200,'
    b'"energy_mwh":123456789,"relay":true,"temperature_mc":41200,"rssi_dbm":-61}'
)


class _Flow:
    """How many of `count` messages have gone through."""

    def __init__(self, count: int) -> None:
        self.count, self.sent, self.arrived, self.acknowledged = count, 0, 0, 0
        self.done = asyncio.Event()

    def on_message(self, _message: Message) -> None:
        self.arrived += 1
        if self.arrived >= self.count:
            self.done.set()

    def on_puback(self, tokens: Sequence[object]) -> None:
        self.acknowledged += len(tokens)

    def room(self) -> int:
        """How many may be sent now."""
        return min(self.count - self.sent, _WINDOW - self.sent + min(self.acknowledged, self.arrived))


async def raw_mqtt_per_s(way: Way, count: int, device_ids: Sequence[str]) -> float:
    """Messages a second through the broker at QoS 1, both ends in this process; 0 if they did not arrive."""
    flow = _Flow(count)
    clients = [await connect(_bridge_login(way), on_message=flow.on_message)]
    try:
        await clients[0].subscribe([(DATA_FILTER, 1)])
        clients += [await connect(login, on_puback=flow.on_puback) for login in _device_logins(way, device_ids)]
        started_s = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                await _publish_all(flow, clients[1:], [encode_text(data_topic(one)) for one in device_ids])
                await flow.done.wait()
        return flow.arrived / (time.monotonic() - started_s) if flow.done.is_set() else 0.0
    finally:
        for client in clients:
            await client.disconnect()


async def _publish_all(flow: _Flow, publishers: Sequence[MqttClient], topics: Sequence[bytes]) -> None:
    turn = 0
    while flow.sent < flow.count:
        for _ in range(min(_BURST, flow.room())):
            publishers[turn].publish(topics[turn], PAYLOAD)
            flow.sent += 1
        turn = (turn + 1) % len(publishers)
        await asyncio.sleep(0 if flow.room() > 0 else 0.001)


async def mosquitto_tools_per_s(way: Way, count: int, device_id: str, folder: Path) -> float | None:
    """The same with mosquitto_pub and mosquitto_sub, one connection each; None where they are not installed."""
    pub, sub = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
    if pub is None or sub is None:
        return None
    listener, (device,) = _bridge_login(way), _device_logins(way, [device_id])
    env = _tool_config(folder, listener, device)
    topic, pipe = data_topic(device_id), asyncio.subprocess.PIPE
    subscriber = await asyncio.create_subprocess_exec(
        sub, "-t", topic, "-C", str(count), "-F", "%l", env=env, stdout=pipe
    )
    publisher: asyncio.subprocess.Process | None = None
    try:
        async with asyncio.timeout(_WITHIN_S):
            await asyncio.sleep(_SUBSCRIBED_AFTER_S)
            publisher = await asyncio.create_subprocess_exec(pub, "-t", topic, "-l", env=env, stdin=pipe)
            started_s = time.monotonic()
            await asyncio.gather(publisher.communicate((PAYLOAD + b"\n") * count), subscriber.communicate())
        return count / (time.monotonic() - started_s) if subscriber.returncode == 0 else None
    except TimeoutError:
        return None
    finally:
        for process in (subscriber, publisher):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()


def _tool_config(folder: Path, listener: Login, device: Login) -> dict[str, str]:
    """The tools read their options from files, so that no password stands in a command line."""
    for name, login in (("mosquitto_sub", listener), ("mosquitto_pub", device)):
        options = {"-h": login.host, "-p": login.port, "-q": 1, "-i": login.client_id, "-u": login.username}
        path = folder / name
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in (options | {"-P": login.password}).items()))
    return {**os.environ, "XDG_CONFIG_HOME": str(folder)}


def _bridge_login(way: Way) -> Login:
    """The bridge's account, on a clean session: the bridge itself must not run meanwhile."""
    settings = way.settings
    return Login(
        settings.mqtt_host,
        settings.mqtt_port,
        settings.mqtt_client_id,
        settings.mqtt_username,
        mqtt_password(settings),
    )


def _device_logins(way: Way, device_ids: Sequence[str]) -> list[Login]:
    base = _bridge_login(way)
    return [
        replace(base, client_id=device_id, username=device_id, password=token)
        for device_id, token in way.tokens(device_ids).items()
    ]
