"""The bridge as a whole: start, carry, and drain when told to stop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import structlog

from bridges.intake import Intake
from bridges.kafka_log import KafkaEventLog
from bridges.kafka_topics import TopicNeeds, ensure_topics
from bridges.metrics import BridgeMetrics
from bridges.mqtt_link import MqttServer
from bridges.mqtt_session import MqttSession
from bridges.mqtt_to_kafka import MqttToKafka
from bridges.receipts import ReceiptBook
from bridges.translation import Translator
from domain.clock import Clock, SystemClock
from domain.events import DEAD_LETTERS_TOPIC, READINGS_TOPIC, REPORTS_TOPIC
from domain.wire import DATA_FILTER, STATUS_FILTER

log = structlog.get_logger()

_DRAIN_TIMEOUT_S = 6.0
_CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class KafkaServer:
    """Where the log is, and how its topics are made."""

    bootstrap: str
    topic_prefix: str
    needs: TopicNeeds


async def run_bridge(
    mqtt: MqttServer,
    kafka: KafkaServer,
    *,
    reading_max_age_ms: int,
    receipt_interval_ms: int,
    metrics_port: int,
    stop: asyncio.Event,
    clock: Clock | None = None,
    metrics: BridgeMetrics | None = None,
) -> None:
    """Carry readings and reports from MQTT into the log until `stop` is set; then drain and return within 10 s.

    Outages after the start are waited out: nothing is acknowledged meanwhile, so nothing is lost.

    Args:
        reading_max_age_ms: older readings become dead letters.
        receipt_interval_ms: how long receipts are collected for a device.
        metrics_port: for Prometheus, on loopback; 0: none.
    Raises:
        DependencyUnavailable: Kafka or the broker is out of reach at the start.
        SettingInvalid: the broker refuses us, a topic cannot hold the log, or the metrics port is in use.
    """
    metrics = metrics or BridgeMetrics()
    intake = Intake(clock or SystemClock(), metrics)
    book = ReceiptBook()
    topics = [kafka.topic_prefix + topic for topic in (READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC)]
    async with AsyncExitStack() as stack:
        await ensure_topics(kafka.bootstrap, topics, kafka.needs)
        event_log = KafkaEventLog(kafka.bootstrap, topic_prefix=kafka.topic_prefix)
        stack.push_async_callback(_close, event_log)
        await event_log.start()
        metrics.kafka_connected.set(1)
        session = MqttSession(mqtt, (DATA_FILTER, STATUS_FILTER), intake, metrics)
        stack.push_async_callback(session.close)
        await session.start()
        # Whoever can read the metrics knows that the bridge takes messages.
        stack.enter_context(metrics.served(metrics_port))
        carrier = MqttToKafka(intake, Translator(max_age_ms=reading_max_age_ms), event_log, book, metrics)
        log.info("bridge ready", mqtt=str(mqtt), kafka=kafka.bootstrap)
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(carrier.run())
            receipting = tasks.create_task(_send_receipts(session, book, carrier, metrics, receipt_interval_ms / 1000))
            await session.run(stop)
            await _drain(intake, carrying)
            receipting.cancel()
        await book.send(session)
        log.info("bridge stopped", left_with_the_broker=intake.unsettled)


async def _drain(intake: Intake, carrying: asyncio.Task[None]) -> None:
    """Settle what has been taken, as far as Kafka lets us; the rest comes again from the broker."""
    intake.close()
    await asyncio.wait([carrying], timeout=_DRAIN_TIMEOUT_S)
    carrying.cancel()


async def _send_receipts(
    session: MqttSession, book: ReceiptBook, carrier: MqttToKafka, metrics: BridgeMetrics, interval_s: float
) -> None:
    sent = 0
    while True:
        await asyncio.sleep(interval_s)
        await book.send(session)
        metrics.receipts.inc(book.sent - sent)
        sent = book.sent
        carrier.note_load()


async def _close(event_log: KafkaEventLog) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await event_log.stop()
