"""The contract of `domain.ports.EventLog`, for each adapter on each Kafka."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.conn import AIOKafkaConnection

from bridges.kafka_log import KafkaEventLog
from bridges.kafka_topics import TopicNeeds, ensure_topics
from domain.errors import DependencyUnavailable
from domain.events import DEAD_LETTERS_TOPIC, READINGS_TOPIC, Record
from domain.ports import EventLog
from tests.log_reader import LogRecord, read_log
from tests.servers import World

NOW_MS = 1_764_000_000_123


def _record(key: str, number: int, *, topic: str = READINGS_TOPIC, size: int = 20) -> Record:
    value = f"{key}:{number}:".encode().ljust(size, b".")
    return Record(topic, key.encode(), value, [("ce_id", str(number).encode())], NOW_MS + number)


def _numbers_by_key(records: list[LogRecord]) -> dict[bytes, list[int]]:
    """The numbers in each key's records, in the order of the log; a number's second appearance left out."""
    numbers: dict[bytes, dict[int, None]] = {}
    for record in records:
        assert record.key is not None
        assert record.value is not None
        numbers.setdefault(record.key, {})[int(record.value.split(b":")[1])] = None
    return {key: list(seen) for key, seen in numbers.items()}


@asynccontextmanager
async def _kafka_log(world: World, append_timeout_s: float = 20) -> AsyncIterator[KafkaEventLog]:
    settings = world.settings
    topics = [settings.kafka_topic_prefix + topic for topic in (READINGS_TOPIC, DEAD_LETTERS_TOPIC)]
    await ensure_topics(
        settings.kafka_bootstrap, topics, TopicNeeds(settings.kafka_partitions, settings.kafka_replication)
    )
    log = KafkaEventLog(
        settings.kafka_bootstrap, topic_prefix=settings.kafka_topic_prefix, append_timeout_s=append_timeout_s
    )
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


@pytest.fixture
async def log(world: World) -> AsyncIterator[EventLog]:
    async with _kafka_log(world) as log:
        yield log


async def test_what_was_appended_stands_in_the_log_as_it_was(world: World, log: EventLog) -> None:
    record = Record(READINGS_TOPIC, b"d1", b'{"a":1}', [("ce_id", b"7"), ("ce_type", b"x")], NOW_MS)
    await log.append([record])
    (stored,) = await read_log(world, READINGS_TOPIC)
    assert (stored.key, stored.value, list(stored.headers), stored.timestamp_ms) == record[1:]


async def test_records_go_to_their_own_topics(world: World, log: EventLog) -> None:
    await log.append([_record("d1", 1), _record("d1", 2, topic=DEAD_LETTERS_TOPIC), _record("", 3)])
    assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": [1], b"": [3]}
    assert _numbers_by_key(await read_log(world, DEAD_LETTERS_TOPIC)) == {b"d1": [2]}


async def test_appending_nothing_is_fine(log: EventLog) -> None:
    await log.append([])


async def test_a_key_keeps_its_order_within_and_across_appends(world: World, log: EventLog) -> None:
    for start in range(0, 300, 100):
        await log.append([_record(f"d{number % 7}", number) for number in range(start, start + 100)])
    stored = _numbers_by_key(await read_log(world, READINGS_TOPIC))
    assert stored == {f"d{k}".encode(): [n for n in range(300) if n % 7 == k] for k in range(7)}


async def test_an_append_larger_than_a_batch_keeps_its_order(world: World, log: EventLog) -> None:
    await log.append([_record("d1", number, size=20_000) for number in range(150)])
    assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": list(range(150))}


async def test_appends_made_at_once_arrive_in_the_order_they_were_made(world: World, log: EventLog) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(log.append([_record("d1", number)]))
    assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": list(range(50))}


async def test_keys_are_spread_as_any_kafka_client_spreads_them(world: World, log: EventLog) -> None:
    # 21, foobar, a-little-bit-long-string and lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8 with their hashes are
    # the vectors of Apache Kafka's own UtilsTest.
    hashes = {
        "21": -973932308,
        "foobar": -790332482,
        "a-little-bit-long-string": -985981536,
        "a-little-bit-longer-string": -1486304829,
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    await log.append([_record(key, number) for number, key in enumerate(hashes)])
    stored = {record.key.decode(): record.partition for record in await read_log(world, READINGS_TOPIC) if record.key}
    partitions = world.settings.kafka_partitions
    assert stored == {key: (value & 0x7FFFFFFF) % partitions for key, value in hashes.items()}


@pytest.mark.long_on_stack
async def test_an_append_fails_while_kafka_hangs_and_its_repetition_keeps_the_order(world: World) -> None:
    batches = [[_record(f"d{number % 3}", number) for number in range(start, start + 30)] for start in (0, 30, 60)]
    async with _kafka_log(world, append_timeout_s=1) as log:
        await log.append(batches[0])
        world.servers.pause("kafka")
        with pytest.raises(DependencyUnavailable):
            await log.append(batches[1])
        world.servers.resume("kafka")
        await _append_until_taken(log, batches[1])
        await _append_until_taken(log, batches[2])
        stored = _numbers_by_key(await read_log(world, READINGS_TOPIC))
    assert stored == {f"d{k}".encode(): [n for n in range(90) if n % 3 == k] for k in range(3)}


@pytest.mark.long_on_stack
async def test_the_log_goes_on_after_kafka_was_killed_and_started_again(world: World) -> None:
    async with _kafka_log(world, append_timeout_s=2) as log:
        await log.append([_record("d1", 1)])
        world.servers.kill9("kafka")
        with pytest.raises(DependencyUnavailable):
            await log.append([_record("d1", 2)])
        world.servers.start("kafka")
        await _append_until_taken(log, [_record("d1", 2)])
        assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": [1, 2]}


async def test_a_producer_that_lost_count_does_not_block_the_log(world: World) -> None:
    async with _kafka_log(world, append_timeout_s=2) as log:
        await log.append([_record("d1", 1)])
        assert log._producer is not None
        for partition in log._producer._txn_manager._sequence_numbers:
            log._producer._txn_manager._sequence_numbers[partition] += 5
        with pytest.raises(DependencyUnavailable, match="Sequence"):
            await log.append([_record("d1", 2)])
        await log.append([_record("d1", 2)])
        assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": [1, 2]}


async def test_a_cancelled_append_leaves_the_log_fit_for_the_next(world: World) -> None:
    async with _kafka_log(world) as log:
        await log.append([_record("d1", 1)])
        world.servers.pause("kafka")
        hanging = asyncio.create_task(log.append([_record("d1", 2)]))
        done, _ = await asyncio.wait([hanging], timeout=0.3)
        assert not done
        hanging.cancel()
        world.servers.resume("kafka")
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await _append_until_taken(log, [_record("d1", 2)])
        await _append_until_taken(log, [_record("d1", 3)])
        assert _numbers_by_key(await read_log(world, READINGS_TOPIC)) == {b"d1": [1, 2, 3]}


@pytest.mark.long_on_stack
async def test_an_append_that_is_cancelled_while_it_connects_leaves_no_connection_open(world: World) -> None:
    with warnings.catch_warnings():
        # What aiokafka dropped when an earlier test killed its brokers is not judged here.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    async with _kafka_log(world):
        before = _open_connections()
        for after_ms in range(0, 30, 2):
            log = KafkaEventLog(world.settings.kafka_bootstrap, topic_prefix=world.settings.kafka_topic_prefix)
            connecting = asyncio.create_task(log.append([_record("d1", after_ms)]))
            await asyncio.wait([connecting], timeout=after_ms / 1000)
            connecting.cancel()
            await asyncio.wait([connecting])
            await log.stop()
        assert [one for one in _open_connections() if one not in before] == []


def _open_connections() -> list[AIOKafkaConnection]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, AIOKafkaConnection) and one.connected()]


async def _append_until_taken(log: EventLog, records: list[Record]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await log.append(records)
            except DependencyUnavailable:
                await asyncio.sleep(0.1)
