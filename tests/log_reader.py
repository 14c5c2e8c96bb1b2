"""Reading the Kafka log back in tests, from its beginning to its present end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.events import Event, Header, ReadingRecorded, decode_event
from tests.servers import World


class LogRecord(NamedTuple):
    """One record as it stands in the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    def event(self) -> Event:
        return decode_event(self.value, self.headers)


async def read_log(world: World, *topics: str) -> list[LogRecord]:
    """What stands in these topics (named without the prefix) now, partition by partition."""
    prefix = world.settings.kafka_topic_prefix
    consumer = AIOKafkaConsumer(bootstrap_servers=world.settings.kafka_bootstrap, auto_offset_reset="earliest")
    try:
        await consumer.start()
        records: list[LogRecord] = []
        for topic in topics:
            partitions = await _partitions(consumer, prefix + topic)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition in partitions:
                records += await _read_partition(consumer, partition, ends[partition], len(prefix))
        return records
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await consumer._client._wait_on_metadata(topic)
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]


async def _read_partition(
    consumer: AIOKafkaConsumer, partition: TopicPartition, end: int, prefix_length: int
) -> list[LogRecord]:
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    records: list[LogRecord] = []
    while await consumer.position(partition) < end:
        for fetched in (await consumer.getmany(partition, timeout_ms=500)).values():
            records += [
                LogRecord(
                    one.topic[prefix_length:], one.partition, one.offset, one.timestamp, one.key, one.value, one.headers
                )
                for one in fetched
            ]
    return records


def identities(records: Sequence[LogRecord]) -> list[tuple[str, str, int]]:
    """(device id, boot, seq) of the readings among these, in their order."""
    events = [record.event() for record in records]
    return [(event.device_id, event.boot, event.seq) for event in events if isinstance(event, ReadingRecorded)]
