"""The dispatcher's side of Kafka: lifecycle events and reports of the same devices, from the oldest open command on.

Both topics are keyed by device and have as many partitions, so range assignment gives one dispatcher all that a device
says and is asked to do. Offsets are committed up to the oldest record that is not done with: whoever reads on from
there sees every open command again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from bridges.consumer_end import CLOSE_WITHIN_S, end_consumer
from bridges.dispatcher import Dispatcher
from bridges.dispatcher_metrics import DispatcherMetrics
from bridges.kafka_log import partition_of
from bridges.watermarks import Place
from domain.backoff import Backoff
from domain.events import LIFECYCLE_TOPIC, REPORTS_TOPIC

log = structlog.get_logger()

# A broker answers one fetch at a time, and a partition just read is not in the one under way: its next record waits
# until that is answered. So fetches are short while records come, and longer, which costs less, while none do.
_FETCH_MAX_WAIT_MS = 15
_IDLE_FETCH_MAX_WAIT_MS = 100
_IDLE_AFTER_S = 1.0
_MAX_RECORDS = 2000
_POLL_MS = 200
_COMMIT_EVERY_S = 1.0
_NOTE_EVERY_S = 0.1
_ANSWER_WITHIN_S = 30.0
_STEADY_AFTER_S = 60.0


@dataclass(frozen=True)
class DispatcherSource:
    """Where the log is and as who it is read."""

    bootstrap: str
    prefix: str
    instance: str

    @property
    def group(self) -> str:
        return f"{self.prefix}dispatcher"

    @property
    def lifecycle_topic(self) -> str:
        return self.prefix + LIFECYCLE_TOPIC

    @property
    def reports_topic(self) -> str:
        return self.prefix + REPORTS_TOPIC

    @property
    def topics(self) -> list[str]:
        return [self.lifecycle_topic, self.reports_topic]


class DispatcherLog(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Reads until stopped, and anew after every outage.

    Args:
        on_ready: called when partitions have been assigned and their positions are known.
        on_caught_up: called when a partition's records are news from now on.
    """

    def __init__(
        self,
        source: DispatcherSource,
        dispatcher: Dispatcher,
        metrics: DispatcherMetrics,
        *,
        on_ready: Callable[[], None],
        on_caught_up: Callable[[], None],
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._source, self._dispatcher, self._metrics = source, dispatcher, metrics
        self._on_ready, self._on_caught_up, self._on_step = on_ready, on_caught_up, on_step
        self._assigned, self._tenure = 0, -1
        self._partitions = 0
        self._places: frozenset[Place] = frozenset()
        self._behind: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        self._fetched_ms: dict[TopicPartition, int] = {}
        self._next_commit_s, self._next_note_s, self._idle_from_s = 0.0, 0.0, 0.0

    def is_ours(self, device_id: str) -> bool:
        """Whether this device's partition is ours, and all that it holds is known."""
        if not self._partitions:
            return False
        place = (self._source.lifecycle_topic, partition_of(device_id.encode(), self._partitions))
        return place in self._places and place not in self._behind

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; then return once what is under way is done with, or time is over."""
        backoff = Backoff()
        while not stop.is_set():
            started_s = time.monotonic()
            try:
                await self._read(stop)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("dispatcher reads anew", detail=str(error) or type(error).__name__)
                self._metrics.retries.labels("kafka").inc()
            if time.monotonic() - started_s > _STEADY_AFTER_S:
                backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.delay_s()):
                    await stop.wait()

    async def _read(self, stop: asyncio.Event) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._source.bootstrap,
            group_id=self._source.group,
            group_instance_id=self._source.instance,
            client_id=self._source.instance,
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1000,
            request_timeout_ms=15_000,
            max_poll_interval_ms=600_000,
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
            metadata_max_age_ms=30_000,
        )
        consumer.subscribe(self._source.topics, listener=self)
        try:
            async with _hurried(stop, CLOSE_WITHIN_S):
                async with asyncio.timeout(60):
                    await consumer.start()
                while not stop.is_set():
                    await self._step(consumer)
            await _within(CLOSE_WITHIN_S, self._dispatcher.lanes.idle())
        finally:
            await _within(CLOSE_WITHIN_S, self._commit(consumer))
            self._leave()
            await end_consumer(consumer)

    async def _step(self, consumer: Any) -> None:
        if self._tenure != self._assigned:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._begin_tenure(consumer)
        if not await _within(_POLL_MS / 1000, self._dispatcher.lanes.has_room()):
            return
        self._hold_back(consumer)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        self._pace(consumer, busy=bool(fetched))
        if self._tenure != self._assigned:
            return
        for partition, records in fetched.items():
            place = (partition.topic, partition.partition)
            for record in records:
                self._dispatcher.take(place, record.offset, record.value, record.headers)
            self._dispatcher.watermarks.reached(place, records[-1].offset + 1)
        if self._behind:
            await self._note_progress(consumer)
        if time.monotonic() > self._next_note_s:
            self._next_note_s = time.monotonic() + _NOTE_EVERY_S
            await self._note_heard(consumer)
        if time.monotonic() > self._next_commit_s:
            self._next_commit_s = time.monotonic() + _COMMIT_EVERY_S
            await self._commit(consumer)

    async def _begin_tenure(self, consumer: Any) -> None:
        """Forget what was, and read on from what is committed."""
        tenure, partitions = self._assigned, sorted(consumer.assignment())
        self._leave()
        starts = await consumer.beginning_offsets(partitions)
        committed = {one: await consumer.committed(one) for one in partitions}
        # After what is committed, or one who commits meanwhile is taken for one of another log.
        ends = await consumer.end_offsets(partitions)
        positions: dict[Place, int] = {}
        for one, at in committed.items():
            # A log made anew ends before what was committed: begin with it.
            known = at is not None and starts[one] <= at <= ends[one]
            positions[one.topic, one.partition] = at if known else starts[one]
        if tenure != self._assigned:
            return
        for one in partitions:
            consumer.seek(one, positions[one.topic, one.partition])
        self._tenure, self._told = tenure, dict(positions)
        self._partitions = len(consumer.partitions_for_topic(self._source.lifecycle_topic) or ())
        self._places = frozenset(positions)
        for place, offset in positions.items():
            self._dispatcher.watermarks.reached(place, offset)
        self._behind = {(one.topic, one.partition): ends[one] for one in partitions}
        self._dispatcher.catching_up(self._behind)
        self._metrics.partitions.set(len(partitions))
        log.info("partitions assigned", count=len(partitions))
        self._on_ready()

    async def _note_progress(self, consumer: Any) -> None:
        """A partition has caught up once all is read that was there when it was assigned."""
        for place, end in list(self._behind.items()):
            if await consumer.position(TopicPartition(*place)) >= end:
                del self._behind[place]
                self._dispatcher.caught_up(place)
        if not self._behind:
            self._on_caught_up()

    async def _note_heard(self, consumer: Any) -> None:
        """Note whose reports have been read up to their end by a fetch that was answered since the last time."""
        for one in consumer.assignment():
            if one.topic != self._source.reports_topic:
                continue
            fetched_ms = consumer.last_poll_timestamp(one)
            if fetched_ms is None or fetched_ms == self._fetched_ms.get(one):
                continue
            if await consumer.position(one) >= consumer.highwater(one):
                self._fetched_ms[one] = fetched_ms
                self._dispatcher.heard_all(one.partition)

    def _pace(self, consumer: Any, *, busy: bool) -> None:
        """Choose how long a broker may hold the next fetches that it has nothing for."""
        if busy:
            self._idle_from_s = time.monotonic() + _IDLE_AFTER_S
        idle = time.monotonic() > self._idle_from_s
        # It has no other way to change it, and reads it for every fetch.
        consumer._fetcher._fetch_max_wait_ms = _IDLE_FETCH_MAX_WAIT_MS if idle else _FETCH_MAX_WAIT_MS

    def _hold_back(self, consumer: Any) -> None:
        """With too many open commands read answers only, until some have ended."""
        lifecycle = [one for one in consumer.assignment() if one.topic == self._source.lifecycle_topic]
        if self._dispatcher.is_full:
            consumer.pause(*lifecycle)
        elif paused := consumer.paused():
            consumer.resume(*paused)

    async def _commit(self, consumer: Any) -> None:
        positions = self._dispatcher.watermarks.positions()
        news = {
            TopicPartition(*place): OffsetAndMetadata(at, "")
            for place, at in positions.items()
            if self._told.get(place) != at
        }
        if not news or self._tenure != self._assigned:
            return
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await consumer.commit(news)
        except KafkaError as error:
            log.info("offsets not committed", detail=str(error) or type(error).__name__)
            return
        self._told |= positions
        self._on_step("offsets committed")

    def _leave(self) -> None:
        self._tenure = -1
        self._places, self._behind = frozenset(), {}
        self._dispatcher.forget()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What is open is read again by whoever gets it."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        """End the tenure: the next step begins another with what is assigned now."""
        self._assigned += 1


@asynccontextmanager
async def _hurried(stop: asyncio.Event, within_s: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` if the block lasts for longer than that after `stop`: Kafka may stand still."""
    async with asyncio.timeout(None) as limit:

        async def hurry() -> None:
            await stop.wait()
            limit.reschedule(asyncio.get_running_loop().time() + within_s)

        hurrying = asyncio.ensure_future(hurry())
        try:
            yield
        finally:
            hurrying.cancel()


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done in time."""
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(seconds):
            await work
        return True
    return False
