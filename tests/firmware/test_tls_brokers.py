"""MQTT over TLS: the firmware and our own roles at both brokers, whose certificate must be by whom they trust."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bridges.mqtt_link import MqttLink
from domain.errors import DependencyUnavailable
from domain.lifecycle.tokens import broker_hash
from ops.child import Child
from ops.dispatcher_role import dispatcher_mqtt
from ops.embedded.nats import EmbeddedNats, mqtt_lets_in
from ops.embedded.ports import LOOPBACK, free_ports
from ops.mqtt_tls import mqtt_tls
from ops.roles import role_spec
from ops.service_users import mqtt_password
from ops.settings import Settings
from ops.simulator.mqtt_client import connect
from ops.simulator.mqtt_login import Login, MqttClosed
from ops.stack.mosquitto import ACL, PASSWORDS, MosquittoServer
from ops.stack.mosquitto_accounts import MosquittoAccounts
from ops.wiring import migrate
from tests.broker_door import BrokerDoor
from tests.firmware.authority import SERVER_NAME, Authority
from tests.firmware.micropython import run
from tests.real_servers import why_not
from tests.servers import settings_from

DEVICE = "tls-socket"


@contextmanager
def embedded(folder: Path, files: Path, ca: Path) -> Iterator[tuple[Settings, str]]:
    """The embedded broker and its callout; the device's token."""
    mqtt, nats = free_ports(2)
    env = {
        "WATTAWAY_DATA_DIR": str(folder / "data"),
        "WATTAWAY_MQTT_PORT": str(mqtt),
        "WATTAWAY_EMBEDDED_NATS_PORT": str(nats),
        "WATTAWAY_MQTT_TLS_CERTIFICATE": str(files),
        "WATTAWAY_MQTT_TLS_KEY": str(files),
        "WATTAWAY_MQTT_TLS_CA": str(ca),
    }
    settings = settings_from(env)
    settings.data_dir.mkdir()
    migrate(settings)
    door = BrokerDoor(settings, opens_at_once=True)
    server = EmbeddedNats(settings.data_dir, mqtt, nats, settings.mqtt_tls_certificate, settings.mqtt_tls_key)
    children = [Child(server.spec()), Child(role_spec("device-auth", settings, env))]
    try:
        for child in children:
            child.start()
        yield settings, door.admit([DEVICE])[DEVICE]
    finally:
        for child in reversed(children):
            child.stop()
        door.close()


@contextmanager
def mosquitto(folder: Path, files: Path, ca: Path) -> Iterator[tuple[Settings, str]]:
    """The same with Mosquitto."""
    [port], directory, token = free_ports(1), folder / "mosquitto", "ab" * 32
    server = MosquittoServer(directory, port)

    def prepare() -> None:
        server.spec.prepare()
        with (directory / "mosquitto.conf").open("a") as options:
            options.write(f"certfile {files}\nkeyfile {files}\n")
        MosquittoAccounts(directory / PASSWORDS, directory / ACL).keep_devices({DEVICE: broker_hash(token)})

    child = Child(replace(server.spec, prepare=prepare))
    child.start()
    try:
        env = {"WATTAWAY_MQTT_PORT": str(port), "WATTAWAY_MQTT_TLS_CA": str(ca)}
        env["WATTAWAY_MQTT_PASSWORD"] = server.bridge_password
        env["WATTAWAY_MQTT_DISPATCHER_PASSWORD"] = server.dispatcher_password
        yield settings_from({**env, "WATTAWAY_MQTT_DISPATCHER_CLIENT_ID": "dispatcher"}), token
    finally:
        child.stop()


@pytest.fixture(params=[pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("mosquitto")])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Settings, str]]:
    """A broker with a certificate for `SERVER_NAME` by the authority `right`; and the device's token."""
    if request.param == "mosquitto" and (reason := why_not()) is not None:
        pytest.fail(reason) if os.environ.get("WATTAWAY_REQUIRE_STACK") == "1" else pytest.skip(reason)
    right = Authority(tmp_path, "right")
    Authority(tmp_path, "wrong")
    start = {"embedded": embedded, "mosquitto": mosquitto}[request.param]
    with start(tmp_path, right.server_files(), right.path) as running:
        yield running


async def test_only_who_trusts_the_right_authority_and_name_connects(
    broker: tuple[Settings, str], tmp_path: Path
) -> None:
    settings, token = broker

    def firmware(authority: str, name: str) -> str | None:
        ca = str(tmp_path / f"{authority}.pem")
        [told] = run("log_in.py", str(settings.mqtt_port), ca, name, DEVICE, token)
        lost: str | None = told["lost"]
        return lost

    assert firmware("right", SERVER_NAME) is None
    for authority, name in (("wrong", SERVER_NAME), ("right", "other.test")):
        assert "connect" in str(firmware(authority, name)), (authority, name)
    right, wrong = mqtt_tls(settings), settings.model_copy(update={"mqtt_tls_ca": str(tmp_path / "wrong.pem")})
    address, login = (LOOPBACK, settings.mqtt_port), (settings.mqtt_username, mqtt_password(settings))
    assert mqtt_lets_in(address, *login, client_id=settings.mqtt_username, tls=right)
    assert not mqtt_lets_in(address, *login, client_id=settings.mqtt_username, tls=mqtt_tls(wrong))
    assert not mqtt_lets_in(address, *login, client_id=settings.mqtt_username), "no TLS, no answer"
    await roles_connect(settings, wrong)
    device = Login(*address, DEVICE, username=DEVICE, password=token, tls=right)
    (await connect(device, timeout_s=30)).abort()
    with pytest.raises(MqttClosed):
        await connect(replace(device, tls=mqtt_tls(wrong)))


async def roles_connect(settings: Settings, wrong: Settings) -> None:
    """As the bridge and the dispatcher do."""
    link = MqttLink(dispatcher_mqtt(settings), lambda *_: None, clean_session=True)
    await link.open(["devices/+/status"], timeout_s=30)
    assert link.alive
    await link.close()
    with pytest.raises(DependencyUnavailable):
        await MqttLink(dispatcher_mqtt(wrong), lambda *_: None).open(["devices/+/status"], timeout_s=30)
