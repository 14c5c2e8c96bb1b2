"""The log's topics on each Kafka: made as needed, and refused where they would lose or refuse readings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridges.kafka_topics import TopicNeeds, ensure_topics
from domain.errors import DependencyUnavailable, SettingInvalid
from ops.embedded.ports import free_ports
from tests.servers import World


def _needs(world: World, **changes: int) -> TopicNeeds:
    settings = world.settings
    return TopicNeeds(**{"partitions": settings.kafka_partitions, "replication": settings.kafka_replication, **changes})


def _name(world: World) -> str:
    return f"{world.settings.kafka_topic_prefix}wattaway.readings.v1"


async def _make(world: World, partitions: int, replication: int, **configs: str) -> None:
    async with _admin(world) as admin:
        named = {name.replace("_", "."): value for name, value in configs.items()}
        response = await admin.create_topics([NewTopic(_name(world), partitions, replication, topic_configs=named)])
        assert response.topic_errors[0][1] == 0


async def _describe(world: World) -> tuple[int, int, dict[str, str]]:
    """Partitions, replicas and configuration of the topic."""
    async with _admin(world) as admin:
        (topic,) = await admin.describe_topics([_name(world)])
        configs: dict[str, str] = {}
        while not configs:  # another broker of the cluster may hear of a fresh topic a moment later
            (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, _name(world))])
            configs = {entry[0]: entry[1] for entry in response.resources[0][4]}
        return len(topic["partitions"]), len(topic["partitions"][0]["replicas"]), configs


class _admin:  # noqa: N801
    def __init__(self, world: World) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=world.settings.kafka_bootstrap)

    async def __aenter__(self) -> Any:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def test_a_topic_is_made_so_that_nothing_in_it_expires(world: World) -> None:
    needs = _needs(world, partitions=3)
    await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], needs)
    partitions, replicas, configs = await _describe(world)
    assert (partitions, replicas) == (3, world.settings.kafka_replication)
    assert configs["retention.ms"] == configs["retention.bytes"] == "-1"
    assert configs["cleanup.policy"] == "delete"
    assert configs["min.insync.replicas"] == ("2" if world.settings.kafka_replication == 3 else "1")


async def test_a_topic_that_is_there_keeps_its_partitions(world: World) -> None:
    await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world, partitions=2))
    await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world, partitions=5))
    assert (await _describe(world))[0] == 2


async def test_two_that_start_at_once_agree(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world)))
    assert (await _describe(world))[0] == world.settings.kafka_partitions


async def test_a_compacted_topic_is_refused(world: World) -> None:
    await _make(world, 1, world.settings.kafka_replication, cleanup_policy="compact")
    with pytest.raises(SettingInvalid, match=r"wattaway\.readings\.v1 needs cleanup\.policy=delete"):
        await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world))


async def test_a_topic_too_small_for_our_records_is_refused(world: World) -> None:
    await _make(world, 1, world.settings.kafka_replication, max_message_bytes="50000")
    with pytest.raises(SettingInvalid, match=r"max\.message\.bytes"):
        await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world))


async def test_a_replicated_topic_that_acknowledges_too_early_is_refused(stack_world: World) -> None:
    await _make(stack_world, 1, 3, min_insync_replicas="1")
    with pytest.raises(SettingInvalid, match=r"min\.insync\.replicas=2"):
        await ensure_topics(stack_world.settings.kafka_bootstrap, [_name(stack_world)], _needs(stack_world))


async def test_a_topic_with_fewer_copies_than_asked_for_is_refused(stack_world: World) -> None:
    await _make(stack_world, 1, 1, min_insync_replicas="1")
    with pytest.raises(SettingInvalid, match="has 1 replicas where 3"):
        await ensure_topics(stack_world.settings.kafka_bootstrap, [_name(stack_world)], _needs(stack_world))


async def test_more_copies_than_brokers_are_refused_with_kafkas_reason(world: World) -> None:
    with pytest.raises(SettingInvalid, match="replication factor of 7"):
        await ensure_topics(world.settings.kafka_bootstrap, [_name(world)], _needs(world, replication=7))


async def test_a_kafka_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DependencyUnavailable, match=f"kafka is unavailable: none of 127.0.0.1:{port}"):
        await ensure_topics(f"127.0.0.1:{port}", ["t"], TopicNeeds(1, 1))


async def test_a_kafka_that_hangs_is_unavailable_in_time(embedded_world: World) -> None:
    embedded_world.servers.pause("kafka")
    with pytest.raises(DependencyUnavailable):
        await ensure_topics(
            embedded_world.settings.kafka_bootstrap, [_name(embedded_world)], _needs(embedded_world), timeout_s=1
        )
