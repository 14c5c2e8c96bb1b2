"""Reading the log from given places to given ends, for a rebuild or a verification. Without a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from domain.errors import DependencyUnavailable
from projections.folded import LogRecord, Place
from projections.parsed_records import as_parsed
from projections.topic_ids import Topic, describe_topics

Records = dict[Place, Sequence[LogRecord]]

MAX_RECORDS = 5000
_SILENCE_S = 60.0
"""Without any record for so long although some are missing, Kafka is taken for gone."""


class LogReader:
    """The log's partitions, each read in order."""

    def __init__(self, consumer: Any, topics: Mapping[str, Topic]) -> None:
        self._consumer = consumer
        self.topics = topics
        self._places = {
            (name, number): TopicPartition(name, number)
            for name, topic in topics.items()
            for number in topic.partitions
        }

    @property
    def topic_ids(self) -> dict[str, str]:
        return {name: topic.topic_id for name, topic in self.topics.items()}

    async def starts(self) -> dict[Place, int]:
        """The first offset that each partition still holds."""
        found = await self._consumer.beginning_offsets(list(self._places.values()))
        return {place: found[partition] for place, partition in self._places.items()}

    async def ends(self) -> dict[Place, int]:
        """Behind the last record of each partition as of now."""
        found = await self._consumer.end_offsets(list(self._places.values()))
        return {place: found[partition] for place, partition in self._places.items()}

    async def batches(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> AsyncIterator[Records]:
        """The records of each partition in [start, end).

        Raises:
            DependencyUnavailable: Kafka has gone silent before the ends.
        """
        left = {self._places[place]: end for place, end in ends.items() if starts[place] < end}
        self._consumer.assign(list(left))
        for partition in left:
            self._consumer.seek(partition, starts[partition.topic, partition.partition])
        heard_at = asyncio.get_running_loop().time()
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=500, max_records=MAX_RECORDS)
            records: Records = {}
            for partition, some in fetched.items():
                end = left[partition]
                wanted = some if some[-1].offset < end else [record for record in some if record.offset < end]
                if wanted:
                    records[partition.topic, partition.partition] = wanted
            if records:
                yield records
            await self._drop_finished(left)
            now = asyncio.get_running_loop().time()
            if fetched:
                heard_at = now
            elif now - heard_at > _SILENCE_S:
                raise DependencyUnavailable(
                    "kafka", f"no records for {_SILENCE_S:g} s although {len(left)} are missing"
                )

    async def _drop_finished(self, left: dict[TopicPartition, int]) -> None:
        # By position, not by record: the last offsets may belong to no record (markers of transactions).
        done = [partition for partition, end in left.items() if await self._consumer.position(partition) >= end]
        for partition in done:
            del left[partition]
        if done:
            self._consumer.pause(*done)


@asynccontextmanager
async def open_log(bootstrap: str, topics: Sequence[str]) -> AsyncIterator[LogReader]:
    """A reader of these topics.

    Raises:
        DependencyUnavailable: Kafka does not answer, or has no such topics.
    """
    described = await describe_topics(bootstrap, topics)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        key_deserializer=as_parsed,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        request_timeout_ms=15_000,
    )
    try:
        async with asyncio.timeout(20):
            await consumer.start()
        yield LogReader(consumer, described)
    except (KafkaError, OSError, TimeoutError) as error:
        raise DependencyUnavailable("kafka", str(error) or type(error).__name__) from error
    finally:
        await consumer.stop()
