"""One batched consumer of the log's projected topics, as a service inside the Faust app.

Positions come from SQL at every assignment. Kafka's own committed offsets are only told afterwards, for those who
watch the group. Within a tenure records come gaplessly; a rebalance or a fence ends it, and the next begins from SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import Engine

from domain.backoff import Backoff
from domain.errors import DependencyUnavailable
from projections.dialect import translated_errors
from projections.folded import Place
from projections.folds import PROJECTED_TOPICS
from projections.lag import LagWatch
from projections.metrics import ProjectorMetrics
from projections.parsed_records import as_parsed
from projections.positions import Position, begin_positions, check_offsets, check_topic_ids, read_positions
from projections.projector import Batch, Projector
from projections.tables import ReadModel
from projections.topic_ids import describe_topics
from projections.undisturbed import undisturbed

log = structlog.get_logger()

MAX_RECORDS = 2000
_CHECK_EVERY_S = 2.0
_CHECK_IDS_EVERY_S = 10.0
_GIVE_UP_WITHIN_S = 5.0
# aiokafka waits for a new assignment, and for a coordinator to commit to, without end. A rebalance ends with the
# session time-out of its slowest member, 10 s.
_FETCH_WITHIN_S = 30.0
_CLOSE_WITHIN_S = 3.0
_LOOK_WITHIN_S = 20.0


@dataclass(frozen=True)
class LogSource:
    """Where the log is and as who it is read."""

    bootstrap: str
    prefix: str
    instance: str

    @property
    def group(self) -> str:
        return f"{self.prefix}projector"

    @property
    def topics(self) -> list[str]:
        return [self.prefix + name for name in PROJECTED_TOPICS]

    @property
    def member(self) -> str:
        # Kafka gives a static member that comes back the assignment it had, even if it asks for more topics by now.
        return f"{self.instance}.{sha256(','.join(self.topics).encode()).hexdigest()[:8]}"


class LogConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Fetches batches and hands them on, until cancelled.

    Args:
        hand_on: takes a batch; its waiting is the back-pressure.
        on_ready: called once, when the first assignment has its positions.
    """

    def __init__(
        self,
        source: LogSource,
        projector: Projector,
        engine: Engine,
        model: ReadModel,
        metrics: ProjectorMetrics,
        *,
        hand_on: Callable[[Batch], Awaitable[object]],
        on_ready: Callable[[], None],
    ) -> None:
        self._source, self._projector = source, projector
        self._engine, self._model, self._metrics = engine, model, metrics
        self._hand_on, self._on_ready = hand_on, on_ready
        self._lag = LagWatch(metrics.lag)
        self._tenure = -1
        self._next_check_at = 0.0
        self._next_id_check_at = 0.0
        self._told: dict[Place, int] = {}
        self._expected: dict[Place, int] = {}
        self._holes: dict[Place, int] = {}

    async def consume(self) -> None:
        """Run until cancelled.

        Raises:
            LogReplaced: the positions in SQL are of another log; nothing was skipped.
        """
        backoff = Backoff()
        while True:
            started_at = time.monotonic()
            try:
                await self._consume_once()
            except (DependencyUnavailable, KafkaError, OSError, TimeoutError) as error:
                log.warning("log consumer starts anew", detail=str(error) or type(error).__name__)
                self._metrics.retries.labels("kafka").inc()
            if time.monotonic() - started_at > 60:
                backoff.reset()
            await asyncio.sleep(backoff.delay_s())

    async def _consume_once(self) -> None:
        await describe_topics(self._source.bootstrap, self._source.topics)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._source.bootstrap,
            group_id=self._source.group,
            group_instance_id=self._source.member,
            client_id=self._source.instance,
            enable_auto_commit=False,
            key_deserializer=as_parsed,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1000,
            request_timeout_ms=15_000,
            max_poll_interval_ms=600_000,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            metadata_max_age_ms=30_000,
        )
        consumer.subscribe(self._source.topics, listener=self)
        self._tenure = -1
        watching: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(60):
                await undisturbed(consumer.start())
            watching = asyncio.ensure_future(self._lag.watch(consumer))
            while True:
                await self._step(consumer)
        finally:
            if watching is not None:
                watching.cancel()
            await self._stop(consumer)

    async def _stop(self, consumer: Any) -> None:
        try:
            async with asyncio.timeout(3):
                await self._projector.give_up()
                await self._tell_kafka(consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            log.info("offsets not told to kafka", detail=str(error) or type(error).__name__)
        finally:
            await _end(consumer)

    async def _step(self, consumer: Any) -> None:
        if self._tenure != self._projector.tenure:
            await self._begin_tenure(consumer)
        async with asyncio.timeout(_FETCH_WITHIN_S):
            fetched = await consumer.getmany(timeout_ms=200, max_records=MAX_RECORDS)
        if fetched and self._tenure == self._projector.tenure and self._follow_on(fetched):
            batch = self._projector.fold({(place.topic, place.partition): some for place, some in fetched.items()})
            await self._hand_on(batch)
        if time.monotonic() > self._next_check_at:
            self._next_check_at = time.monotonic() + _CHECK_EVERY_S
            async with asyncio.timeout(_LOOK_WITHIN_S):
                await self._look_around(consumer)

    def _follow_on(self, fetched: Mapping[Any, Sequence[Any]]) -> bool:
        """Whether these records follow those before; else the tenure ends, and the next fetches them again.

        Offsets without records (of compaction, of transactions) are taken for that when they come a second time.
        """
        for place, records in fetched.items():
            key, first = (place.topic, place.partition), records[0].offset
            # A place that the tenure began without cannot be followed either.
            expected = self._expected.get(key, -1)
            if first < expected or (first > expected and self._holes.get(key) != expected):
                log.warning("offsets do not follow", topic=key[0], partition=key[1], expected=expected, found=first)
                self._holes[key] = expected
                self._tenure = -1
                return False
        for place, records in fetched.items():
            self._expected[place.topic, place.partition] = records[-1].offset + 1
        return True

    async def _begin_tenure(self, consumer: Any) -> None:
        """Restore the positions from SQL, and fetch from there."""
        await self._projector.give_up()
        tenure = self._projector.tenure
        places = sorted(consumer.assignment())
        starts = {
            (place.topic, place.partition): at for place, at in (await consumer.beginning_offsets(places)).items()
        }
        described = await describe_topics(self._source.bootstrap, self._source.topics)
        topic_ids = {name: topic.topic_id for name, topic in described.items()}
        positions = await asyncio.to_thread(self._read_positions, starts, topic_ids)
        # After the positions: until the tenure is taken over, whoever had the partitions before may still move on.
        ends = {(place.topic, place.partition): at for place, at in (await consumer.end_offsets(places)).items()}
        check_topic_ids(positions, topic_ids, starts)
        check_offsets(positions, starts, ends)
        if tenure != self._projector.tenure:
            return
        for place in places:
            consumer.seek(place, positions[place.topic, place.partition].next_offset)
        await self._projector.take_over({key: positions[key] for key in starts})
        self._tenure = tenure
        self._lag.positions = self._projector.positions
        self._expected = {key: positions[key].next_offset for key in starts}
        self._told = {}
        self._metrics.partitions.set(len(places))
        log.info("partitions assigned", count=len(places))
        self._on_ready()

    def _read_positions(self, starts: dict[Place, int], topic_ids: dict[str, str]) -> dict[Place, Position]:
        with translated_errors(), self._engine.begin() as connection:
            begin_positions(connection, self._model, self._source.group, starts, topic_ids)
            return read_positions(connection, self._model, self._source.group)

    async def _look_around(self, consumer: Any) -> None:
        """Tell Kafka how far we are, and see whether the log is still the same."""
        try:
            await self._tell_kafka(consumer)
        except KafkaError as error:
            log.info("offsets not told to kafka", detail=str(error) or type(error).__name__)
        if time.monotonic() > self._next_id_check_at:
            self._next_id_check_at = time.monotonic() + _CHECK_IDS_EVERY_S
            described = await describe_topics(self._source.bootstrap, self._source.topics)
            topic_ids = {name: topic.topic_id for name, topic in described.items()}
            check_topic_ids(self._projector.positions, topic_ids, list(self._projector.positions))

    async def _tell_kafka(self, consumer: Any) -> None:
        offsets = {key: position.next_offset for key, position in self._projector.positions.items()}
        news = {
            TopicPartition(*key): OffsetAndMetadata(at, "") for key, at in offsets.items() if self._told.get(key) != at
        }
        if news and self._tenure == self._projector.tenure:
            # aiokafka would leave its request behind.
            await undisturbed(consumer.commit(news))
            self._told = offsets

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        """Let the batch being written end, so that the next owner starts behind it."""
        try:
            async with asyncio.timeout(_GIVE_UP_WITHIN_S):
                await self._projector.give_up()
        except TimeoutError:
            log.warning("partitions revoked while writing", detail="the positions fence that batch")

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        """End the tenure again: one that `_step` began since the revocation has the partitions of before."""
        self._projector.tenure += 1


async def _end(consumer: Any) -> None:
    """Stop a consumer, and break off what does not end in time.

    aiokafka's `stop` awaits the fetches that it cancels itself. One that waits to be tried again lets that cancellation
    out, as if it were meant for the caller, and the connections stay open. So it runs in a task of its own.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=_CLOSE_WITHIN_S)
    if stopping.done() and not stopping.cancelled():
        if (error := stopping.exception()) is None:
            return
        # Its connections are still open.
        log.info("log consumer did not stop in order", detail=str(error) or type(error).__name__)
    stopping.cancel()
    left = [task for task in _tasks_of(consumer) if task.cancel()]
    await asyncio.wait({stopping, *left}, timeout=_CLOSE_WITHIN_S)
    closing = asyncio.ensure_future(consumer._client.close())
    await asyncio.wait({closing}, timeout=_CLOSE_WITHIN_S)


def _tasks_of(consumer: Any) -> list[asyncio.Task[Any]]:
    """What aiokafka runs for it. A heartbeat that went on would keep the partitions of who has left."""
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    own = [getattr(consumer._coordinator, name, None) for name in names]
    fetches = [] if consumer._fetcher is None else consumer._fetcher._pending_tasks
    return [*(task for task in own if task is not None), *fetches]
