"""The log's topics: made once with what they need, and checked at every start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError

from domain.errors import DependencyUnavailable, SettingInvalid

log = structlog.get_logger()

_UNKNOWN_TOPIC = 3
_TOPIC_EXISTS = 36
# Request timed out; too few brokers (yet); not the controller (any more).
_PASSING = (7, 38, 41)
_PATIENCE_S = 5.0
# A dead letter holds up to 64 KiB as base64; a batch of `KafkaEventLog` half a MiB.
MIN_MESSAGE_BYTES = 1024 * 1024
_CONFIGS = {
    # The log is the truth: nothing in it ever expires.
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    # A record carries the instant of its reading; a broker whose clock is slow must not refuse it.
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}


@dataclass(frozen=True)
class TopicNeeds:
    """What the log asks of each topic."""

    partitions: int
    replication: int

    @property
    def min_insync_replicas(self) -> int:
        """Two copies before an acknowledgement, where there are three to choose from."""
        return 2 if self.replication >= 3 else 1

    def configs(self) -> dict[str, str]:
        return {**_CONFIGS, "min.insync.replicas": str(self.min_insync_replicas)}


async def ensure_topics(bootstrap: str, topics: Sequence[str], needs: TopicNeeds, *, timeout_s: float = 20) -> None:
    """Return once every topic is there, with partitions that have leaders, and can hold the log.

    A topic that exists keeps its number of partitions: another number would part a device from its history.

    Raises:
        DependencyUnavailable: Kafka does not answer in time.
        SettingInvalid: a topic cannot be made as asked, or an existing one would lose or refuse records; says which.
    """
    try:
        async with asyncio.timeout(timeout_s), _admin_client(bootstrap) as admin:
            await _create_missing(admin, topics, needs)
            await _await_leaders(admin, topics, needs)
            await _check_configs(admin, topics, needs)
    except TimeoutError:
        raise DependencyUnavailable("kafka", f"no answer from {bootstrap} within {timeout_s:g} s") from None
    except KafkaConnectionError as error:
        raise DependencyUnavailable("kafka", f"none of {bootstrap} answers") from error
    except (KafkaError, OSError) as error:
        raise DependencyUnavailable("kafka", f"{bootstrap}: {error}") from error


@asynccontextmanager
async def _admin_client(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _create_missing(admin: Any, topics: Sequence[str], needs: TopicNeeds) -> None:
    """Make what is not there; brokers that have just started (or woken up) get a moment to report for duty."""
    patience_ends = time.monotonic() + _PATIENCE_S
    while missing := await _missing(admin, topics):
        wanted = [NewTopic(one, needs.partitions, needs.replication, topic_configs=needs.configs()) for one in missing]
        for name, code, message in (await admin.create_topics(wanted)).topic_errors:
            if code == 0:
                log.info("topic created", topic=name, partitions=needs.partitions, replication=needs.replication)
            elif (code not in _PASSING and code != _TOPIC_EXISTS) or time.monotonic() > patience_ends:
                raise SettingInvalid(f"Kafka cannot make the topic {name}: {message}")
        await asyncio.sleep(0.1)


async def _missing(admin: Any, topics: Sequence[str]) -> list[str]:
    present = {topic["topic"] for topic in await admin.describe_topics(list(topics)) if topic["error_code"] == 0}
    return [topic for topic in topics if topic not in present]


async def _await_leaders(admin: Any, topics: Sequence[str], needs: TopicNeeds) -> None:
    """Wait until every partition has a leader: a fresh topic has none for a moment."""
    while True:
        described = await admin.describe_topics(list(topics))
        if all(topic["error_code"] == 0 and _has_leaders(topic) for topic in described):
            break
        await asyncio.sleep(0.05)
    for topic in described:
        copies = min(len(partition["replicas"]) for partition in topic["partitions"])
        if copies < needs.replication:
            raise SettingInvalid(
                f"the Kafka topic {topic['topic']} has {copies} replicas where {needs.replication} are asked for "
                "(WATTAWAY_KAFKA_REPLICATION): add replicas with kafka-reassign-partitions or lower the setting"
            )


def _has_leaders(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return bool(partitions) and all(partition["leader"] >= 0 for partition in partitions)


async def _check_configs(admin: Any, topics: Sequence[str], needs: TopicNeeds) -> None:
    names = ["cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes"]
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names)) for topic in topics]
    answers = await _described(admin, resources)
    while any(error_code == _UNKNOWN_TOPIC for error_code, *_ in answers):
        await asyncio.sleep(0.05)  # the broker that was asked has not heard of a fresh topic yet
        answers = await _described(admin, resources)
    for error_code, message, _, topic, entries in answers:
        if error_code != 0:
            raise DependencyUnavailable("kafka", f"does not tell the settings of {topic}: {message}")
        _check_config(topic, {entry[0]: entry[1] for entry in entries}, needs)


async def _described(admin: Any, resources: Sequence[ConfigResource]) -> list[Any]:
    return [one for response in await admin.describe_configs(resources) for one in response.resources]


def _check_config(topic: str, configs: Mapping[str, str], needs: TopicNeeds) -> None:
    wrong = []
    if "compact" in configs["cleanup.policy"]:
        wrong.append("cleanup.policy=delete (compaction would drop readings)")
    if int(configs["min.insync.replicas"]) < needs.min_insync_replicas:
        wrong.append(f"min.insync.replicas={needs.min_insync_replicas} (else an acknowledged reading can be lost)")
    if int(configs["max.message.bytes"]) < MIN_MESSAGE_BYTES:
        wrong.append(f"max.message.bytes={MIN_MESSAGE_BYTES} or more (else large records are refused)")
    if wrong:
        raise SettingInvalid(f"the Kafka topic {topic} needs {'; '.join(wrong)}: change it with kafka-configs --alter")
    if configs["retention.ms"] != "-1" or configs["retention.bytes"] != "-1":
        log.warning("topic expires", topic=topic, retention_ms=configs["retention.ms"], detail="a rebuild loses that")
