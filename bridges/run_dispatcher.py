"""The dispatcher as a whole: start, see to commands, and end in order when told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from bridges.command_link import CommandLink
from bridges.command_rights import CommandRights
from bridges.configuration_drift import ConfigurationDrift
from bridges.dispatcher import WORKERS, Dispatcher
from bridges.dispatcher_log import DispatcherLog, DispatcherSource
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.failed_commands import FailedCommands
from bridges.kafka_log import KafkaEventLog
from bridges.kafka_topics import ensure_topics
from bridges.mqtt_link import MqttServer
from bridges.patient_lifecycle import PatientLifecycle
from bridges.run_bridge import KafkaServer
from domain.clock import Clock, SystemClock
from domain.events import DEAD_LETTERS_TOPIC
from domain.lifecycle.lifecycle import Lifecycle

log = structlog.get_logger()

_CLOSE_WITHIN_S = 2.0


async def run_dispatcher(
    lifecycle: Lifecycle,
    mqtt: MqttServer,
    kafka: KafkaServer,
    *,
    metrics_port: int,
    metrics_host: str = "127.0.0.1",
    stop: asyncio.Event,
    clock: Clock | None = None,
    metrics: DispatcherMetrics | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
) -> None:
    """See to commands until `stop` is set; then end within 10 s. Outages after the start are waited out.

    Raises:
        DependencyUnavailable: Kafka, the broker or the event store is out of reach at the start.
        SettingInvalid: the broker refuses us, a topic cannot hold the log, or the metrics port is in use.
    """
    parts = _Parts(lifecycle, mqtt, kafka, clock or SystemClock(), metrics or DispatcherMetrics(), on_step)
    async with AsyncExitStack() as stack:
        await ensure_topics(
            kafka.bootstrap, [*parts.source.topics, kafka.topic_prefix + DEAD_LETTERS_TOPIC], kafka.needs
        )
        stack.push_async_callback(parts.close)
        await parts.rights.begin()
        await parts.link.start()
        await parts.run(stop, lambda: stack.enter_context(parts.metrics.served(metrics_host, metrics_port)))
    log.info("dispatcher stopped")


class _Parts:
    """The parts, put together."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        mqtt: MqttServer,
        kafka: KafkaServer,
        clock: Clock,
        metrics: DispatcherMetrics,
        on_step: Callable[[str], None],
    ) -> None:
        self.metrics = metrics
        self.source = DispatcherSource(kafka.bootstrap, kafka.topic_prefix, mqtt.client_id)
        self._event_log = KafkaEventLog(kafka.bootstrap, topic_prefix=kafka.topic_prefix)
        self._deciding = PatientLifecycle(lifecycle, threads=WORKERS, on_retry=metrics.retries.labels("database").inc)
        failed = FailedCommands(self._event_log, metrics.retries.labels("kafka").inc)
        self._dispatcher = Dispatcher(self._deciding, failed, metrics, clock, on_step=on_step)
        self.link = CommandLink(
            mqtt,
            metrics.mqtt_connected,
            self._dispatcher.presence_changed,
            self._dispatcher.answer_heard,
            self._dispatcher.broker_goes_on,
        )
        self._log = DispatcherLog(
            self.source,
            self._dispatcher,
            metrics,
            on_ready=self._note_ready,
            on_caught_up=self._look_at_all,
            on_step=on_step,
        )
        self._drift = ConfigurationDrift(
            self._deciding, self.link.presence, self._dispatcher.commands, self._log.is_ours, metrics, clock
        )
        self.rights = CommandRights(lifecycle.log_recorder, self._dispatcher.rights_ended)
        self._dispatcher.connect(self.link, self._drift, self.rights)
        self._ready = asyncio.Event()

    async def run(self, stop: asyncio.Event, serve_metrics: Callable[[], None]) -> None:
        """Work until `stop` is set. Whoever can read the metrics knows that commands are seen to."""
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._dispatcher.run()), tasks.create_task(self._drift.run())]
            working.append(tasks.create_task(self.rights.run()))
            working.append(tasks.create_task(self._serve(serve_metrics)))
            connected = tasks.create_task(self.link.run(stop))
            await self._log.run(stop)
            await asyncio.wait([connected], timeout=_CLOSE_WITHIN_S)
            for task in (*working, connected):
                task.cancel()

    async def close(self) -> None:
        """Leave nothing open."""
        self._deciding.close()
        closing = [asyncio.ensure_future(self.link.close()), asyncio.ensure_future(self._event_log.stop())]
        await asyncio.wait(closing, timeout=_CLOSE_WITHIN_S)

    async def _serve(self, serve_metrics: Callable[[], None]) -> None:
        await self._ready.wait()
        serve_metrics()
        log.info("dispatcher ready", kafka=self.source.bootstrap)

    def _note_ready(self) -> None:
        self._ready.set()

    def _look_at_all(self) -> None:
        """Whoever said it is there before we knew what is open is looked at now."""
        for device_id in self.link.presence.online():
            self._drift.look(device_id)
