"""The relay as a whole: start, carry, and end with the batch under way when told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from bridges.event_hints import hint_channel, listen_for_hints
from bridges.event_store import EventDatabase, SqlApplicationRecorder
from bridges.kafka_log import KafkaEventLog
from bridges.kafka_topics import ensure_topics
from bridges.relay import Alone, Relay
from bridges.relay_metrics import RelayMetrics
from bridges.relay_positions import RelayPosition
from bridges.run_bridge import KafkaServer
from domain.clock import SystemClock
from domain.events import LIFECYCLE_TOPIC

log = structlog.get_logger()

_DRAIN_TIMEOUT_S = 6.0
_CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class HintSource:
    """Where hints of new events come from."""

    redis_url: str
    redis_prefix: str


async def run_relay(
    database: EventDatabase,
    kafka: KafkaServer,
    hints: HintSource,
    *,
    alone: Alone,
    topic_id: Callable[[str], Awaitable[str]],
    metrics_port: int,
    metrics_host: str = "127.0.0.1",
    stop: asyncio.Event,
    on_step: Callable[[str], None] = lambda _step: None,
) -> None:
    """Carry the event store's log to Kafka until `stop` is set.

    Outages after the start are waited out.

    Args:
        topic_id: asks Kafka for the id of a topic.
    Raises:
        DependencyUnavailable: Kafka is out of reach at the start.
        SettingInvalid: the topic cannot hold the log, or the metrics port is in use.
    """
    topic = kafka.topic_prefix + LIFECYCLE_TOPIC
    await ensure_topics(kafka.bootstrap, [topic], kafka.needs)
    event_log, metrics = KafkaEventLog(kafka.bootstrap, topic_prefix=kafka.topic_prefix), RelayMetrics()
    relay = Relay(
        SqlApplicationRecorder(database),
        RelayPosition(database, topic),
        event_log,
        lambda: topic_id(topic),
        SystemClock(),
        metrics,
        on_step=on_step,
    )
    with metrics.served(metrics_host, metrics_port):
        log.info("relay ready", topic=topic)
        try:
            await _carry(relay, alone, hints, stop)
        finally:
            await asyncio.wait([asyncio.ensure_future(event_log.stop())], timeout=_CLOSE_TIMEOUT_S)
    log.info("relay stopped")


async def _carry(relay: Relay, alone: Alone, hints: HintSource, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen_for_hints(hints.redis_url, hint_channel(hints.redis_prefix), relay.hint))
        carrying = tasks.create_task(relay.run(alone))
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait([carrying, stopping], return_when=asyncio.FIRST_COMPLETED)
        relay.stop()
        await asyncio.wait([carrying], timeout=_DRAIN_TIMEOUT_S)
        for task in (carrying, listening, stopping):
            task.cancel()
