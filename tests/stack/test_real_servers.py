"""The real servers: who gets in, and what they keep when they are killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis import Redis
from sqlalchemy import create_engine, make_url, text

from ops.embedded.nats import mqtt_lets_in
from ops.settings import Settings
from ops.simulator.mqtt_client import MqttClient, connect
from ops.simulator.mqtt_login import Login
from ops.simulator.mqtt_packets import Message, encode_text
from tests.servers import World

pytestmark = pytest.mark.stack


def test_an_admitted_device_gets_in_without_a_restart_and_only_with_its_token(stack_world: World) -> None:
    settings = stack_world.settings
    address = (settings.mqtt_host, settings.mqtt_port)
    device, other = stack_world.device_id("one"), stack_world.device_id("other")
    assert not mqtt_lets_in(address, device, "0" * 64, client_id=device)

    token = stack_world.servers.admit([device])[device]

    assert mqtt_lets_in(address, device, token, client_id=device)
    assert not mqtt_lets_in(address, device, "0" * 64, client_id=device)
    assert not mqtt_lets_in(address, device, "", client_id=device)
    assert not mqtt_lets_in(address, other, token, client_id=other)


async def test_a_device_reaches_its_own_topics_only(stack_world: World) -> None:
    one, other = stack_world.device_id("one"), stack_world.device_id("other")
    tokens = stack_world.servers.admit([one, other])
    heard: list[tuple[str, bytes]] = []
    done = asyncio.Event()

    def listen(message: Message) -> None:
        if stack_world.marker in message.topic or message.topic == "devices/data":
            heard.append((message.topic, message.payload))
        if message.payload == b"last":
            done.set()

    settings = stack_world.settings
    bridge = await _connect(settings, settings.mqtt_username, settings.mqtt_password.get_secret_value(), listen)
    await bridge.subscribe([("devices/+/data", 1), ("devices/+/status", 1)])
    token = tokens[one]
    for topic in (f"devices/{other}/data", f"devices/{other}/status", f"devices/{one}/receipts", "devices/data"):
        forger = await _connect(settings, one, token)
        forger.publish(encode_text(topic), b"forged")
        # Mosquitto ends the connection of whoever writes elsewhere.
        await asyncio.wait_for(asyncio.shield(forger.closed), 10)
    device = await _connect(settings, one, token)
    device.publish(encode_text(f"devices/{one}/data"), b"last")
    await asyncio.wait_for(done.wait(), 10)
    assert heard == [(f"devices/{one}/data", b"last")]
    await device.disconnect()
    await bridge.disconnect()


async def test_a_device_hears_only_its_own_receipts(stack_world: World) -> None:
    one, other = stack_world.device_id("one"), stack_world.device_id("other")
    tokens = stack_world.servers.admit([one, other])
    heard: list[str] = []
    done = asyncio.Event()

    def listen(message: Message) -> None:
        heard.append(message.topic)
        done.set()

    settings = stack_world.settings
    device = await _connect(settings, one, tokens[one], listen)
    await device.subscribe([("devices/+/receipts", 0), (f"devices/{other}/receipts", 0), ("#", 0)])
    bridge = await _connect(settings, settings.mqtt_username, settings.mqtt_password.get_secret_value())
    for device_id in (other, one):
        bridge.publish(encode_text(f"devices/{device_id}/receipts"), b"{}")
    await asyncio.wait_for(done.wait(), 10)
    assert set(heard) == {f"devices/{one}/receipts"}
    await device.disconnect()
    await bridge.disconnect()


async def _connect(
    settings: Settings, user: str, password: str, on_message: Callable[[Message], None] = lambda _message: None
) -> MqttClient:
    login = Login(settings.mqtt_host, settings.mqtt_port, client_id=user, username=user, password=password)
    return await connect(login, on_message=on_message)


@pytest.mark.parametrize(
    ("setting", "role"), [("WATTAWAY_DATABASE_URL", "projector"), ("WATTAWAY_EVENT_STORE_URL", "relay")]
)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"password": "hush-hush"}, "Access denied"),
        pytest.param({"username": "nobody"}, "Access denied", marks=pytest.mark.long),
        pytest.param({"database": "nothing_of_ours"}, "nothing_of_ours", marks=pytest.mark.long),
    ],
)
def test_a_database_that_lets_us_not_in_is_one_line_that_names_the_setting(
    stack_world: World, tmp_path: Path, setting: str, role: str, wrong: dict[str, str], reason: str
) -> None:
    right = make_url(stack_world.env["WATTAWAY_DATABASE_URL"])
    env = {**stack_world.env, setting: right.set(**wrong).render_as_string(hide_password=False)}
    for command in (["migrate"], ["run", role]):
        told = subprocess.run(
            [sys.executable, "-m", "ops.cli", *command],
            cwd=tmp_path,
            env={**os.environ, **env, "WATTAWAY_LOG_LEVEL": "error"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert told.returncode == 2, (command, told.stderr)
        assert told.stderr.count("\n") == 1
        assert told.stderr.startswith(f"wattaway: {setting}: ")
        assert reason in told.stderr
        assert "hush" not in told.stderr


async def test_kafka_takes_writes_and_keeps_all_of_them_while_one_of_three_nodes_is_killed(stack_world: World) -> None:
    topic = f"{stack_world.settings.kafka_topic_prefix}kept"
    bootstrap = stack_world.settings.kafka_bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 3)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for number in range(300):
            if number == 150:
                stack_world.servers.kill9("kafka-2")
            await asyncio.wait_for(await producer.send(topic, str(number).encode(), partition=number % 3), 60)

    kept: set[bytes | None] = set()
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        while len(kept) < 300:
            batches = await consumer.getmany(timeout_ms=10_000)
            assert batches, f"only {len(kept)} of 300 came back"
            kept |= {record.value for records in batches.values() for record in records}


def test_mariadb_keeps_committed_rows_over_kill_9(stack_world: World) -> None:
    engine = create_engine(stack_world.settings.resolved_database_url())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (number INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO kept VALUES (1), (2)"))
    engine.dispose()
    stack_world.servers.kill9("database")
    stack_world.servers.start("database")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT SUM(number) FROM kept")).scalar_one() == 3
    engine.dispose()


def test_the_apps_database_user_reaches_no_other_database(stack_world: World) -> None:
    engine = create_engine(stack_world.settings.resolved_database_url())
    with engine.connect() as connection, pytest.raises(Exception, match="denied") as refused:
        connection.execute(text("SELECT * FROM mysql.user"))
    assert isinstance(refused.value.__cause__, pymysql.MySQLError)
    engine.dispose()


def test_redis_comes_back_empty_after_kill_9_rather_than_with_an_old_snapshot(stack_world: World) -> None:
    with Redis.from_url(stack_world.settings.resolved_redis_url()) as client:
        key = f"{stack_world.settings.redis_prefix}probe"
        client.set(key, "1")
        stack_world.servers.kill9("redis")
        stack_world.servers.start("redis")
        assert client.get(key) is None
