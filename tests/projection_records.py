"""Records of the log made by hand, for tests of the projections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from eventsourcing.persistence import JSONTranscoder, Notification
from sqlalchemy import Engine, text

from bridges.kafka_topics import ensure_topics
from bridges.lifecycle_records import lifecycle_record
from domain.clock import to_instant
from domain.events import (
    READINGS_TOPIC,
    Event,
    PresenceChanged,
    ReadingRecorded,
    Record,
    dead_letter_record,
    reading_record,
    report_record,
)
from domain.events import DeadLettered as DeadLettered
from domain.lifecycle.entity import Entity
from domain.lifecycle.mapping import PlainJsonMapper
from ops.wiring import kafka_server
from projections.folds import PROJECTED_TOPICS
from projections.positions import Position, begin_positions, read_positions
from projections.store import Store
from projections.tables import ReadModel, read_model

T0_MS = 1_764_000_000_000
GROUP = "projector"
READINGS = (READINGS_TOPIC, 0)


@dataclass(frozen=True)
class StoredRecord:
    """A record as the log gives it back."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass
class MovableClock:
    """A clock that tests set."""

    at_ms: int = T0_MS

    def now_ms(self) -> int:
        return self.at_ms


def reading(device_id: str = "socket", seq: int = 0, at_ms: int = T0_MS, **more: Any) -> ReadingRecorded:
    """A reading of 100 W, received 50 ms after it was measured."""
    received_at_ms = more.pop("received_at_ms", at_ms + 50)
    boot, power_w = more.pop("boot", "9f3a61c2"), more.pop("power_w", 100.0)
    return ReadingRecorded(device_id, boot, seq, to_instant(at_ms), to_instant(received_at_ms), power_w, **more)


def presence(device_id: str = "socket", online: bool = True, at_ms: int = T0_MS, **more: Any) -> PresenceChanged:
    return PresenceChanged(device_id, online, to_instant(at_ms), **more)


def record_of(event: Event) -> Record:
    if isinstance(event, ReadingRecorded):
        return reading_record(event)
    return dead_letter_record(event) if isinstance(event, DeadLettered) else report_record(event)


def stored(events: Iterable[Event | Record], first_offset: int = 0) -> list[StoredRecord]:
    """These events (or records) as a stretch of one partition."""
    records = [event if isinstance(event, Record) else record_of(event) for event in events]
    return [
        StoredRecord(first_offset + n, one.timestamp_ms, one.key, one.value, tuple(one.headers))
        for n, one in enumerate(records)
    ]


def decided(*aggregates: Entity) -> list[Record]:
    """What these have decided since they were asked last, as the relay carries it."""
    events = [event for aggregate in aggregates for event in aggregate.collect_events()]
    states = [PlainJsonMapper(JSONTranscoder()).to_stored_event(event) for event in events]
    notes = [Notification(one.originator_id, one.originator_version, one.topic, one.state, 0) for one in states]
    return [lifecycle_record(note, T0_MS) for note in notes]


def poison(value: bytes | None = b"{", key: bytes = b"socket") -> Record:
    """What is no reading, among the readings."""
    headers = reading_record(reading()).headers
    return Record(READINGS_TOPIC, key, value, headers, T0_MS)  # type: ignore[arg-type]


def begun(store: Store, *places: tuple[str, int]) -> dict[tuple[str, int], Position]:
    """Positions at 0 of these partitions, stored."""
    with store.engine.begin() as connection:
        ids = dict.fromkeys((topic for topic, _ in places), "an-id")
        begin_positions(connection, store.model, store.group, dict.fromkeys(places, 0), ids)
        return read_positions(connection, store.model, store.group)


def dump(engine: Engine, model: ReadModel | None = None, leave_out: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Every row of every table, by key."""
    model = model or read_model()
    rows: dict[str, list[Any]] = {}
    with engine.begin() as connection:
        for table in model.tables():
            if model.base_name(table) not in leave_out:
                key = ", ".join(column.name for column in table.primary_key.columns)
                found = connection.execute(text(f"SELECT * FROM {table.name} ORDER BY {key}"))
                rows[model.base_name(table)] = [tuple(row) for row in found]
    return rows


async def append(world: Any, events: Iterable[Event | Record]) -> None:
    """Put these into the world's real log, whose topics are made if need be."""
    prefix, needs = world.settings.kafka_topic_prefix, kafka_server(world.settings).needs
    await ensure_topics(world.settings.kafka_bootstrap, [prefix + name for name in PROJECTED_TOPICS], needs)
    producer = AIOKafkaProducer(bootstrap_servers=world.settings.kafka_bootstrap, acks="all", linger_ms=5)
    await producer.start()
    try:
        for event in events:
            one = event if isinstance(event, Record) else record_of(event)
            await producer.send(
                prefix + one.topic, one.value, key=one.key, headers=one.headers, timestamp_ms=one.timestamp_ms
            )
        await producer.flush()
    finally:
        await producer.stop()
