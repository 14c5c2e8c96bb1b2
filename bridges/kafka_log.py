"""The event log on Apache Kafka: whole batches, acknowledged by all in-sync replicas, in order per key.

`AIOKafkaProducer.send` costs 12 µs of CPU per record (a future and a walk through metadata for each); filling a batch
per partition costs 3 µs, so that is what `append` does, with the same partitioner as any Java client.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from domain.errors import DependencyUnavailable
from domain.events import Record

log = structlog.get_logger()

_MAX_BATCH_BYTES = 512 * 1024
_REQUEST_TIMEOUT_MS = 5_000
_START_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0


@lru_cache(maxsize=131_072)
def _hash_of(key: bytes) -> int:
    """The Java client's hash of a key; aiokafka's is in Python and costs 2 µs, so the fleet's are remembered."""
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Where a key's records stand in a topic of so many partitions."""
    return _hash_of(key) % partitions


class KafkaEventLog:
    """An `EventLog` on Kafka. After any failure the next `append` starts with a new producer, so that neither a
    fenced producer nor one that lost count of its sequence numbers can block the log.

    Args:
        bootstrap: brokers, host:port separated by commas.
        topic_prefix: put before every record's topic.
        append_timeout_s: how long `append` waits before it gives up.
    """

    def __init__(self, bootstrap: str, *, topic_prefix: str = "", append_timeout_s: float = 10.0) -> None:
        self._bootstrap = bootstrap
        self._topic_prefix = topic_prefix
        self._append_timeout_s = append_timeout_s
        self._producer: AIOKafkaProducer | None = None
        # One append at a time: a second one could overtake the first while that is being retried.
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Return once Kafka answers.

        Raises:
            DependencyUnavailable: it does not.
        """
        async with self._turn:
            await self._open()

    async def append(self, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged by all in-sync replicas, in order per key.

        Raises:
            DependencyUnavailable: not acknowledged in time; some may be in the log all the same.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(self._append_timeout_s):
                    producer = self._producer or await self._open()
                    await self._send(producer, records)
            except TimeoutError:
                await self._discard()
                raise DependencyUnavailable("kafka", f"no answer within {self._append_timeout_s:g} s") from None
            except (KafkaError, OSError) as error:
                await self._discard()
                raise DependencyUnavailable("kafka", f"{type(error).__name__}: {error}") from error
            except asyncio.CancelledError:
                await self._discard()
                raise

    async def stop(self) -> None:
        """Close the connection; records not yet acknowledged are given up."""
        async with self._turn:
            await self._discard()

    async def _open(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_MAX_BATCH_BYTES,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        starting = asyncio.ensure_future(producer.start())
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await asyncio.shield(starting)
        except BaseException as error:
            # If it is cancelled in its first request, nobody closes the connection any more.
            await _let_end(starting)
            await _close(producer)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise DependencyUnavailable("kafka", f"no answer from {self._bootstrap}") from error
            raise
        self._producer = producer
        return producer

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
        deliveries: list[asyncio.Future[Any]] = []
        try:
            for topic, partition, batch in await self._batches(producer, records):
                deliveries.append(await producer.send_batch(batch, topic, partition=partition))
            done, _ = await asyncio.wait(deliveries, return_when=asyncio.FIRST_EXCEPTION) if deliveries else ((), ())
            for delivery in done:
                delivery.result()
        finally:
            _forget(deliveries)

    async def _batches(self, producer: AIOKafkaProducer, records: Sequence[Record]) -> Iterable[tuple[str, int, Any]]:
        """The records as filled batches; those of one partition stand in order."""
        batches: list[tuple[str, int, Any]] = []
        by_topic: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_topic[record.topic].append(record)
        for name, of_topic in by_topic.items():
            topic = self._topic_prefix + name
            partitions = sorted(await producer.partitions_for(topic))
            filling: dict[int, Any] = {}
            for record in of_topic:
                partition = partitions[partition_of(record.key, len(partitions))]
                batch = filling.get(partition)
                if batch is None or _add(batch, record) is None:
                    batch = filling[partition] = producer.create_batch()
                    batches.append((topic, partition, batch))
                    _add(batch, record)
        return batches

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)


def _add(batch: Any, record: Record) -> Any:
    return batch.append(key=record.key, value=record.value, timestamp=record.timestamp_ms, headers=record.headers)


def _forget(deliveries: Iterable[asyncio.Future[Any]]) -> None:
    for delivery in deliveries:
        if not delivery.done():
            delivery.cancel()
        elif not delivery.cancelled():
            delivery.exception()


async def _let_end(work: asyncio.Future[None]) -> None:
    """Give it a moment to end, then break it off; how it ended is nobody's business."""
    await asyncio.wait({work}, timeout=_CLOSE_TIMEOUT_S)
    work.cancel()
    await asyncio.wait({work}, timeout=_CLOSE_TIMEOUT_S)
    if work.done() and not work.cancelled():
        work.exception()


async def _close(producer: AIOKafkaProducer) -> None:
    """End a producer for good: nothing it still holds is sent any more.

    `AIOKafkaProducer.stop` waits until all it holds is delivered, for ever if Kafka is away, and whoever gives up
    waiting leaves a sender behind that delivers later, out of order. So connections are broken off and the sender is
    ended; what it held is forgotten, as `append` has said that it was not acknowledged.
    """
    producer._closed = True
    client, sender = producer.client, producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    for connection in client._conns.values():
        if connection.connected():
            connection._writer.transport.abort()
    # Not awaited here: it would swallow a cancellation, and whoever was to end would go on.
    await _let_end(asyncio.ensure_future(client.close()))
    if sender is not None:
        await _end(sender, client)


async def _end(sender: asyncio.Task[None], client: Any) -> None:
    """Wait for the sender, which waits for its requests, which may wait for metadata that will not come any more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            while not sender.done():
                if client._md_update_fut is not None and not client._md_update_fut.done():
                    client._md_update_fut.set_result(False)
                await asyncio.wait([sender], timeout=0.05)
    sender.cancel()
    await asyncio.wait([sender], timeout=_CLOSE_TIMEOUT_S)
    if sender.done() and not sender.cancelled():
        sender.exception()
