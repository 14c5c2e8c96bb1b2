"""The embedded servers answer, survive kill -9 with their data, and let in only whom they should."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis import Redis

from domain.errors import DependencyUnavailable
from ops.child import Child
from ops.credentials import bridge_password
from ops.embedded.kafka import EmbeddedKafka, new_cluster_id
from ops.embedded.nats import EmbeddedNats, mqtt_lets_in
from ops.embedded.ports import free_ports, is_open
from tests.servers import World


@pytest.mark.long
async def test_kafka_keeps_acknowledged_records_over_kill_9(embedded_world: World) -> None:
    topic = f"{embedded_world.settings.kafka_topic_prefix}kept"
    bootstrap = embedded_world.settings.kafka_bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for number in range(100):
            await producer.send(topic, str(number).encode())
        await producer.flush()

    embedded_world.servers.kill9("kafka")
    embedded_world.servers.start("kafka")

    kept: list[bytes | None] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        while len(kept) < 100:
            batches = await consumer.getmany(timeout_ms=5000)
            assert batches, f"only {len(kept)} of 100 came back"
            kept += [record.value for records in batches.values() for record in records]
    assert kept == [str(number).encode() for number in range(100)]


def test_valkey_answers_on_its_socket_and_starts_again_after_kill_9(embedded_world: World) -> None:
    url = embedded_world.settings.resolved_redis_url()
    with Redis.from_url(url) as client:
        assert client.set(f"{embedded_world.settings.redis_prefix}probe", "1")
    embedded_world.servers.kill9("redis")
    embedded_world.servers.start("redis")
    with Redis.from_url(url) as client:
        assert client.ping()


@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0", "::"])
def test_the_mqtt_broker_is_open_to_others_only_if_told_so(tmp_path: Path, listens: str) -> None:
    mqtt, client = free_ports(2)
    broker = Child(EmbeddedNats(tmp_path, mqtt, client, mqtt_listen=listens).spec())
    broker.start()
    try:
        # Another address of this machine stands for what others reach.
        assert is_open(("127.0.0.2", mqtt)) is (listens != "127.0.0.1")
        assert not is_open(("127.0.0.2", client))
        assert is_open(("127.0.0.1", mqtt))
    finally:
        broker.stop()


def test_only_the_right_token_with_the_right_client_id_gets_in(embedded_world: World) -> None:
    settings = embedded_world.settings
    address = (settings.mqtt_host, settings.mqtt_port)
    device = embedded_world.device_id()
    token = embedded_world.servers.admit([device])[device]

    assert mqtt_lets_in(address, "bridge", bridge_password(settings.data_dir))
    assert not mqtt_lets_in(address, "bridge", token)
    assert not mqtt_lets_in(address, "bridge", "")
    assert mqtt_lets_in(address, device, token, client_id=device)
    assert not mqtt_lets_in(address, device, token, client_id=f"{device}x")
    assert not mqtt_lets_in(address, f"{device}x", token, client_id=f"{device}x")
    assert not mqtt_lets_in(address, "bad.id", token)


def test_devices_get_in_again_after_the_broker_and_its_callout_were_killed(embedded_world: World) -> None:
    settings = embedded_world.settings
    for name in ("mqtt", "device-auth"):
        embedded_world.servers.kill9(name)
    for name in ("mqtt", "device-auth"):
        embedded_world.servers.start(name)
    device = embedded_world.device_id()
    token = embedded_world.servers.admit([device])[device]
    assert mqtt_lets_in((settings.mqtt_host, settings.mqtt_port), device, token, client_id=device)


def test_a_format_that_takes_too_long_is_an_error_that_the_supervisor_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "java"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("ops.embedded.kafka.find_java", lambda: slow)
    monkeypatch.setattr("ops.embedded.kafka.fetch_jars", lambda _folder: "")
    monkeypatch.setattr("ops.embedded.kafka._FORMAT_WITHIN_S", 0.2)
    kafka = EmbeddedKafka(tmp_path, *free_ports(2))
    with pytest.raises(DependencyUnavailable, match="not formatted within"):
        kafka.prepare()
    assert not (kafka.home / "log").exists()


def test_no_cluster_id_reads_like_an_option_of_the_formatting_tool() -> None:
    assert not [cluster_id for cluster_id in (new_cluster_id() for _ in range(2_000)) if cluster_id.startswith("-")]
