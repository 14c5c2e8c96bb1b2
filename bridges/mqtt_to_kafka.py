"""From MQTT to the log: a batch is translated, appended, acknowledged by Kafka, and only then by us."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import structlog

from bridges.intake import Intake, Message
from bridges.metrics import BridgeMetrics
from bridges.receipts import ReceiptBook
from bridges.translation import Translated, Translator
from domain.backoff import Backoff
from domain.errors import DependencyUnavailable
from domain.events import Record
from domain.ports import EventLog

log = structlog.get_logger()

# A batch waits this long for company; Kafka's ack takes as long.
_LINGER_S = 0.005
# Batches that are not full set out no closer than this. Each costs every process behind us 1 to 3 ms of CPU, however
# little it holds: at 5,000 readings/s this makes 150 of 45. A lone reading after a silence does not wait for it.
_PACE_S = 0.03
# Half of the smallest window that brokers grant us. More at a time, where there is more, spare Kafka work.
_FULL_FROM_MESSAGES = 500
_MAX_MESSAGES = 2000
# Up to 4,500 readings of backlog, whose encoding keeps the loop busy for 20 ms.
_MAX_BYTES = 512 * 1024
_REJECTIONS_LOGGED_EVERY_S = 5.0


class MqttToKafka:
    """Carries what is in the intake into the log, one batch after the other, so that order holds over retries."""

    def __init__(
        self, intake: Intake, translator: Translator, event_log: EventLog, book: ReceiptBook, metrics: BridgeMetrics
    ) -> None:
        self._intake = intake
        self._translator = translator
        self._event_log = event_log
        self._book = book
        self._metrics = metrics
        self._rejected: Counter[str] = Counter()
        self._next_rejection_log = 0.0

    async def run(self) -> None:
        """Return once the intake is closed and all it held is settled.

        The next batch is gathered and translated while the one before is on its way to Kafka, but set out only when
        that has arrived.
        """
        ahead: asyncio.Task[None] | None = None
        next_at_s = 0.0
        async with asyncio.TaskGroup() as tasks:
            while batch := await self._intake.next_batch(
                linger_s=_LINGER_S,
                not_before_s=next_at_s,
                full_from=_FULL_FROM_MESSAGES,
                max_messages=_MAX_MESSAGES,
                max_bytes=_MAX_BYTES,
            ):
                next_at_s = time.monotonic() + _PACE_S
                translated = self._translator.translate(batch)
                if ahead is not None:
                    await ahead
                ahead = tasks.create_task(self._carry(batch, translated))

    async def _carry(self, batch: list[Message], translated: Translated) -> None:
        await self._append(translated.records)
        self._settle(batch, translated)

    async def _append(self, records: list[Record]) -> None:
        """Return once all are in the log, however long Kafka is away."""
        backoff = Backoff()
        while True:
            started_s = time.perf_counter()
            try:
                await self._event_log.append(records)
            except DependencyUnavailable as error:
                self._metrics.append_failures.inc()
                self._metrics.kafka_connected.set(0)
                self.note_load()
                log.warning("kafka out of reach", reason=str(error), held_back=self._intake.unsettled)
                await asyncio.sleep(backoff.delay_s())
            else:
                break
        self._metrics.kafka_connected.set(1)
        self._metrics.append_seconds.observe(time.perf_counter() - started_s)
        self._metrics.batch_size.observe(len(records))

    def _settle(self, batch: list[Message], translated: Translated) -> None:
        self._intake.settle(batch)
        self._book.note(translated.settled)
        self._metrics.messages.inc(len(batch))
        self._metrics.readings.inc(translated.readings)
        self._metrics.reports.inc(translated.reports)
        self._metrics.in_flight.set(self._intake.unsettled)
        for reason, count in translated.rejected.items():
            self._metrics.dead_letters.labels(reason).inc(count)
        if translated.rejected:
            self._log_rejections(translated)

    def note_load(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.in_flight.set(self._intake.unsettled)
        self._metrics.devices_seen.set(len(self._translator.devices))

    def _log_rejections(self, translated: Translated) -> None:
        """Say what was refused: at most one line in 5 s, so that a fleet gone wrong does not fill the disk."""
        self._rejected.update(translated.rejected)
        now_s = time.monotonic()
        if now_s >= self._next_rejection_log:
            log.warning("input rejected", reasons=dict(self._rejected), last=translated.last_rejection[:300])
            self._rejected.clear()
            self._next_rejection_log = now_s + _REJECTIONS_LOGGED_EVERY_S
