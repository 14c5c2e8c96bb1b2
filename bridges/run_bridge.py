"""The bridge as a whole: start, carry, and drain when told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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
    metrics_host: str = "127.0.0.1",
    stop: asyncio.Event,
    clock: Clock | None = None,
    metrics: BridgeMetrics | None = None,
) -> None:
    """Carry readings and reports from MQTT into the log until `stop` is set; then drain and return within 10 s.

    Outages after the start are waited out: nothing is acknowledged meanwhile, so nothing is lost.

    Args:
        reading_max_age_ms: older readings become dead letters.
        receipt_interval_ms: how long receipts are collected for a device.
        metrics_port: for Prometheus; 0: none.
    Raises:
        DependencyUnavailable: Kafka or the broker is out of reach at the start.
        SettingInvalid: the broker refuses us, a topic cannot hold the log, or the metrics port is in use.
    """
    bridge = _Bridge(mqtt, kafka, clock or SystemClock(), metrics or BridgeMetrics(), reading_max_age_ms)
    async with AsyncExitStack() as stack:
        if await _done_before(stop, bridge.start(stack, metrics_host, metrics_port)):
            await bridge.carry(stop, receipt_interval_ms / 1000)


class _Bridge:
    """The parts, put together."""

    def __init__(
        self, mqtt: MqttServer, kafka: KafkaServer, clock: Clock, metrics: BridgeMetrics, reading_max_age_ms: int
    ) -> None:
        self._kafka = kafka
        self._metrics = metrics
        self._intake = Intake(clock, metrics)
        self._book = ReceiptBook()
        self._event_log = KafkaEventLog(kafka.bootstrap, topic_prefix=kafka.topic_prefix)
        self._session = MqttSession(mqtt, (DATA_FILTER, STATUS_FILTER), self._intake, metrics.mqtt_connected)
        translator = Translator(max_age_ms=reading_max_age_ms)
        self._carrier = MqttToKafka(self._intake, translator, self._event_log, self._book, metrics)

    async def start(self, stack: AsyncExitStack, metrics_host: str, metrics_port: int) -> None:
        """Return once messages are taken; `stack` undoes it."""
        topics = [self._kafka.topic_prefix + topic for topic in (READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC)]
        await ensure_topics(self._kafka.bootstrap, topics, self._kafka.needs)
        stack.push_async_callback(_close, self._event_log)
        await self._event_log.start()
        self._metrics.kafka_connected.set(1)
        stack.push_async_callback(self._session.close)
        await self._session.start()
        # Whoever can read the metrics knows that the bridge takes messages.
        stack.enter_context(self._metrics.served(metrics_host, metrics_port))
        log.info("bridge ready", kafka=self._kafka.bootstrap)

    async def carry(self, stop: asyncio.Event, receipt_interval_s: float) -> None:
        """Carry until `stop` is set, then settle what has been taken, as far as Kafka lets us.

        The rest comes again from the broker.
        """
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(self._carrier.run())
            receipting = tasks.create_task(self._send_receipts(receipt_interval_s))
            await self._session.run(stop)
            self._intake.close()
            await asyncio.wait([carrying], timeout=_DRAIN_TIMEOUT_S)
            carrying.cancel()
            receipting.cancel()
        await self._book.send(self._session)
        log.info("bridge stopped", left_with_the_broker=self._intake.unsettled)

    async def _send_receipts(self, interval_s: float) -> None:
        sent = 0
        while True:
            await asyncio.sleep(interval_s)
            await self._book.send(self._session)
            self._metrics.receipts.inc(self._book.sent - sent)
            sent = self._book.sent
            self._carrier.note_load()


async def _done_before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether `work` was done before `stop` was set; else it is cancelled."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        working.cancel()
        await asyncio.wait([working], timeout=_DRAIN_TIMEOUT_S)
        return False
    finally:
        working.cancel()
        stopping.cancel()


async def _close(event_log: KafkaEventLog) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await event_log.stop()
