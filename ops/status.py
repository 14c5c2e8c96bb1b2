"""What `wattaway status` says: does each server and role answer, what is in the log, how far are the read models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from bridges.event_store_tables import relay_positions, stored_events
from domain.errors import WattAwayError
from domain.events import LIFECYCLE_TOPIC
from ops.embedded.nats import mqtt_lets_in
from ops.mqtt_tls import mqtt_tls
from ops.roles import ROLES
from ops.service_users import mqtt_password
from ops.settings import METRICS_ROLES, Settings
from projections.dialect import translated_errors
from projections.folds import PROJECTED_TOPICS
from projections.schema import check_schema
from projections.tables import read_model

_WITHIN_S = 8.0
_ROLES = ("bridge", "projector", "relay", "dispatcher", "api")


@dataclass(frozen=True)
class Check:
    """One server or role."""

    name: str
    answers: bool
    detail: str


@dataclass(frozen=True)
class TopicState:
    """One topic of the log and how far the read models are."""

    name: str
    partitions: int
    records: int
    projected: int

    @property
    def lag(self) -> int:
        return self.records - self.projected


@dataclass
class Status:
    """All that was found out."""

    checks: list[Check] = field(default_factory=list)
    topics: list[TopicState] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def servers_answer(self) -> bool:
        return all(check.answers for check in self.checks if check.name not in ROLES)


async def look(settings: Settings) -> Status:
    """Ask everything at once; whatever does not answer within some seconds is said to be out of reach."""
    status = Status()
    positions: dict[str, int] = {}
    ends: dict[str, list[int]] = {}

    async def kafka() -> str:
        ends.update(await _end_offsets(settings))
        return f"{sum(map(len, ends.values()))} partitions"

    async def database() -> str:
        positions.update(await asyncio.to_thread(_read_database, settings, status.counts))
        status.counts["events to relay"] = await asyncio.to_thread(events_to_relay, settings)
        return settings.database_kind()

    async def redis() -> str:
        return await _read_redis(settings, status.counts)

    async def mqtt() -> str:
        address = (settings.mqtt_host, settings.mqtt_port)
        login = (settings.mqtt_username, mqtt_password(settings))
        if not await asyncio.to_thread(mqtt_lets_in, address, *login, tls=mqtt_tls(settings)):
            raise ConnectionError(f"{address[0]}:{address[1]} does not let user {settings.mqtt_username!r} in")
        return f"{address[0]}:{address[1]}"

    servers = {"kafka": kafka, "mqtt": mqtt, "database": database, "redis": redis}
    status.checks += await asyncio.gather(*(_check(name, ask) for name, ask in servers.items()))
    status.checks += await asyncio.gather(*(_check_role(name, settings) for name in _ROLES))
    status.topics += [
        TopicState(name, len(offsets), sum(offsets), positions.get(name, 0)) for name, offsets in ends.items()
    ]
    return status


async def projection_lag(settings: Settings) -> int | None:
    """How many records the read models are behind the log; None while it cannot be told."""
    try:
        async with asyncio.timeout(_WITHIN_S):
            ends = await _end_offsets(settings)
        positions = await asyncio.to_thread(_read_database, settings, {})
    except (TimeoutError, OSError, KafkaError, SQLAlchemyError, WattAwayError):
        return None
    return sum(sum(offsets) - positions.get(name, 0) for name, offsets in ends.items()) if ends else None


async def _check(name: str, ask: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(_WITHIN_S):
            return Check(name, True, await ask())
    except TimeoutError:
        return Check(name, False, f"no answer within {_WITHIN_S:g} s")
    except (OSError, KafkaError, RedisError, SQLAlchemyError, WattAwayError) as error:
        return Check(name, False, " ".join(str(error).split())[:200] or type(error).__name__)


async def _check_role(name: str, settings: Settings) -> Check:
    answers = await asyncio.to_thread(ROLES[name].is_ready, settings)
    url = settings.metrics_url(name) if name in METRICS_ROLES else settings.api_url
    if not url:
        return Check(name, True, "has no metrics port to ask")
    return Check(name, answers, urlsplit(url).netloc if answers else "does not run here")


async def _end_offsets(settings: Settings) -> dict[str, list[int]]:
    names = [settings.kafka_topic_prefix + name for name in PROJECTED_TOPICS]
    partitions = await _partitions(settings.kafka_bootstrap, names)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=5000)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([one for those in partitions.values() for one in those])
    finally:
        await consumer.stop()
    return {name: [ends[one] for one in those] for name, those in partitions.items()}


async def _partitions(bootstrap: str, names: list[str]) -> dict[str, list[TopicPartition]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    await admin.start()
    try:
        described = await admin.describe_topics(names)
    finally:
        await admin.close()
    return {
        topic["topic"]: [TopicPartition(topic["topic"], one["partition"]) for one in topic["partitions"]]
        for topic in described
        if not topic["error_code"]
    }


def _read_database(settings: Settings, counts: dict[str, int]) -> dict[str, int]:
    """Fill `counts`; how far the read models are in each topic."""
    model = read_model()
    engine = create_engine(settings.resolved_database_url())
    group = f"{settings.kafka_topic_prefix}projector"
    position = model.consumer_positions
    try:
        with translated_errors():
            check_schema(engine)
        with engine.connect() as connection:
            counts["devices"] = connection.scalar(select(func.count()).select_from(model.devices)) or 0
            counts["dead letters"] = connection.scalar(select(func.count()).select_from(model.dead_letters)) or 0
            totals = connection.execute(
                select(position.c.topic, func.sum(position.c.next_offset))
                .where(position.c.consumer_group == group)
                .group_by(position.c.topic)
            )
            return {topic: int(offset) for topic, offset in totals}
    finally:
        engine.dispose()


def events_to_relay(settings: Settings) -> int:
    """How many events of the store are not in Kafka yet."""
    engine = create_engine(settings.resolved_event_store_url())
    relay = relay_positions.c.relay == settings.kafka_topic_prefix + LIFECYCLE_TOPIC
    try:
        with engine.connect() as connection:
            newest = connection.scalar(select(func.max(stored_events.c.notification_id))) or 0
            return newest - (connection.scalar(select(relay_positions.c.notification_id).where(relay)) or 0)
    finally:
        engine.dispose()


async def _read_redis(settings: Settings, counts: dict[str, int]) -> str:
    async with Redis.from_url(settings.resolved_redis_url(), socket_timeout=5, socket_connect_timeout=5) as client:
        counts["devices online"] = await devices_online(client, settings.redis_prefix)
        whole = await client.exists(f"{settings.redis_prefix}generation")
    return "views complete" if whole else "views are being rebuilt"


async def devices_online(client: Redis, prefix: str) -> int:
    """How many devices are there now, as the latest views have it."""
    states = await client.hvals(f"{prefix}presence")
    return sum(bool(json.loads(state)["online"]) for state in states)
