"""`wattaway status` says the truth about servers, topics and lag."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from sqlalchemy import create_engine, insert

from bridges.kafka_topics import TopicNeeds, ensure_topics
from domain.events import LIFECYCLE_TOPIC, READINGS_TOPIC
from ops.embedded.ports import free_ports
from ops.status import look, projection_lag
from ops.wiring import migrate
from projections.folds import PROJECTED_TOPICS
from projections.tables import read_model
from tests.servers import World


async def test_servers_topics_and_lag_are_told(embedded_world: World) -> None:
    settings = embedded_world.settings
    migrate(settings)
    topic = settings.kafka_topic_prefix + READINGS_TOPIC
    await ensure_topics(settings.kafka_bootstrap, [topic], TopicNeeds(partitions=3, replication=1))
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for number in range(12):
            await producer.send_and_wait(topic, b"x", partition=number % 3)
    position = {
        "consumer_group": f"{settings.kafka_topic_prefix}projector",
        "topic": topic,
        "generation": "",
        "topic_id": "x",
    }
    engine = create_engine(settings.resolved_database_url())
    with engine.begin() as connection:
        rows = [{**position, "log_partition": 0, "next_offset": 4}, {**position, "log_partition": 1, "next_offset": 1}]
        connection.execute(insert(read_model().consumer_positions), rows)
    engine.dispose()

    status = await look(settings)
    assert status.servers_answer
    (readings,) = status.topics
    assert (readings.name, readings.partitions, readings.records, readings.lag) == (topic, 3, 12, 7)
    assert await projection_lag(settings) == 7
    assert {check.name for check in status.checks if not check.answers} == {
        "bridge",
        "projector",
        "relay",
        "dispatcher",
        "api",
    }
    assert status.counts == {"devices": 0, "dead letters": 0, "events to relay": 0, "devices online": 0}


async def test_what_is_out_of_reach_is_said_and_the_rest_is_told(embedded_world: World) -> None:
    kafka, mqtt = free_ports(2)
    settings = embedded_world.settings_with(
        kafka_bootstrap=f"127.0.0.1:{kafka}", mqtt_port=mqtt, redis_url="unix:///nowhere/valkey.sock"
    )
    status = await look(settings)
    assert not status.servers_answer
    answers = {check.name: check.answers for check in status.checks}
    assert (answers["kafka"], answers["mqtt"], answers["redis"], answers["database"]) == (False,) * 4
    assert all("\n" not in check.detail and check.detail for check in status.checks)
    assert await projection_lag(settings) is None
    details = {check.name: check.detail for check in status.checks}
    assert details["database"] == "WATTAWAY_DATABASE_URL: the database has no tables of ours: run `wattaway migrate`"


async def test_what_was_decided_counts_as_lag_too(embedded_world: World) -> None:
    settings = embedded_world.settings
    migrate(settings)
    topics = [settings.kafka_topic_prefix + name for name in PROJECTED_TOPICS]
    await ensure_topics(settings.kafka_bootstrap, topics, TopicNeeds(partitions=1, replication=1))
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        await producer.send_and_wait(settings.kafka_topic_prefix + LIFECYCLE_TOPIC, b"x")
    assert await projection_lag(settings) == 1
