"""The relay: what stands in the event store stands in Kafka too, in order, whoever dies in between."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from eventsourcing.persistence import StoredEvent
from sqlalchemy import text

from bridges.event_store import EventDatabase, SqlApplicationRecorder
from domain.events import LIFECYCLE_TOPIC
from ops.child import Child
from ops.figures import scrape
from ops.settings import Settings
from ops.wiring import event_engines, migrate
from tests.log_reader import LogRecord, read_log
from tests.servers import World

_ROOT = Path(__file__).parents[2]
STEPS = ("begun", "read", "appended", "stored")
AT = "2026-03-01T12:00:00.123456Z"


class Store:
    """The event store of a test, and what was written into it."""

    def __init__(self, database: EventDatabase) -> None:
        self.database = database
        self.recorder = SqlApplicationRecorder(database)
        self.ids: list[str] = []

    def write(self, count: int = 1, *, device_id: str | None = None) -> UUID:
        """So many events of a new aggregate."""
        originator_id = uuid4()
        events = [
            StoredEvent(originator_id, version, "wattaway.tested.v1", _state(version, device_id))
            for version in range(1, count + 1)
        ]
        self.recorder.insert_events(events)
        self.ids += [f"{originator_id}:{event.originator_version}" for event in events]
        return originator_id


def _state(number: int, device_id: str | None) -> bytes:
    device = {} if device_id is None else {"device_id": device_id}
    return json.dumps({"timestamp": AT, "number": number, **device}).encode()


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    migrate(world.settings)
    writing, reading = event_engines(world.settings)
    yield Store(EventDatabase(writing, reading))
    writing.dispose()
    reading.dispose()


def ce(record: LogRecord, name: str) -> str:
    return dict(record.headers)[f"ce_{name}"].decode()


def first_of_each(records: Sequence[LogRecord]) -> dict[str, LogRecord]:
    """Records by `ce_id`, in the order of their first appearance."""
    found: dict[str, LogRecord] = {}
    for record in records:
        found.setdefault(ce(record, "id"), record)
    return found


async def relayed(world: World, store: Store, *, within_s: float = 30) -> list[LogRecord]:
    """The topic, once all that was written stands in it, in the order of each aggregate."""
    deadline = time.monotonic() + within_s
    while True:
        records = await read_log(world, LIFECYCLE_TOPIC)
        found = first_of_each(records)
        if len(found) == len(store.ids):
            break
        assert time.monotonic() < deadline, f"{len(found)} of {len(store.ids)} events are in Kafka"
    assert found.keys() == set(store.ids)
    versions: dict[str, int] = {}
    for identity in found:
        originator, version = identity.split(":")
        assert int(version) == versions.get(originator, 0) + 1, "out of order"
        versions[originator] = int(version)
    return records


async def metric(settings: Settings, name: str, condition: Callable[[float], bool], *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while True:
        samples = (await asyncio.to_thread(scrape, settings.metrics_url("relay"))).get(f"wattaway_relay_{name}", {})
        if any(condition(value) for value in samples.values()):
            return
        assert time.monotonic() < deadline, f"{name} is {samples}"
        await asyncio.sleep(0.02)


def test_no_step_of_the_relay_is_left_out() -> None:
    source = (_ROOT / "bridges" / "relay.py").read_text(encoding="utf-8")
    assert sorted(re.findall(r'_on_step\("([a-z ]+)"\)', source)) == sorted(STEPS)


@pytest.mark.long_on_stack
async def test_a_record_is_the_stored_bytes_with_cloudevents_headers(world: World, store: Store) -> None:
    device = world.device_id()
    of_device, of_user = store.write(device_id=device), store.write()
    world.start_role("relay")
    found = first_of_each(await relayed(world, store))
    record = found[f"{of_device}:1"]
    assert record.value == _state(1, device)
    assert record.key == device.encode()
    assert record.timestamp_ms == 1_772_366_400_123
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"wattaway.tested.v1",
        "ce_id": f"{of_device}:1".encode(),
        "ce_source": f"/devices/{device}".encode(),
        "ce_time": AT.encode(),
        "content-type": b"application/json",
    }
    assert found[f"{of_user}:1"].key == str(of_user).encode()


@pytest.mark.long_on_stack
async def test_it_goes_on_where_it_was_stopped_and_sends_nothing_twice(world: World, store: Store) -> None:
    store.write(1500)
    relay = world.start_role("relay")
    await relayed(world, store)
    store.write(30)
    relay.stop()
    assert relay.exit_code() == 0
    store.write(20)
    relay.start()
    store.write(10)
    records = await relayed(world, store)
    assert len(records) == len(store.ids)


@pytest.mark.long_on_stack
async def test_an_unreadable_event_holds_up_nothing(world: World, store: Store) -> None:
    strange = uuid4()
    store.recorder.insert_events([StoredEvent(strange, 1, "wattaway.strange.v1", b"\xff not JSON")])
    store.ids.append(f"{strange}:1")
    after = store.write()
    world.start_role("relay")
    found = first_of_each(await relayed(world, store))
    assert found[f"{strange}:1"].value == b"\xff not JSON"
    assert "ce_time" not in dict(found[f"{strange}:1"].headers)
    assert f"{after}:1" in found


@pytest.mark.long_on_stack
async def test_the_second_relay_waits_and_takes_over(world: World, store: Store) -> None:
    first = world.start_role("relay")
    await metric(world.settings, "active", lambda value: value == 1)
    other = world.settings_with(relay_metrics_port=world.settings.api_port)
    second = world.start_role("relay", env={"WATTAWAY_RELAY_METRICS_PORT": str(other.relay_metrics_port)})
    store.write(10)
    assert len(await relayed(world, store)) == 10
    await metric(other, "active", lambda value: value == 0)
    first.kill()
    store.write(10)
    await relayed(world, store)
    await metric(other, "active", lambda value: value == 1)
    assert second.is_running()


@pytest.mark.stack
@pytest.mark.long
async def test_where_one_relay_stands_still_another_carries_on(stack_world: World) -> None:
    world = stack_world
    migrate(world.settings)
    store = Store(EventDatabase(*event_engines(world.settings)))
    first = world.start_role("relay")
    await metric(world.settings, "active", lambda value: value == 1)
    other = world.settings_with(relay_metrics_port=world.settings.api_port)
    world.start_role("relay", env={"WATTAWAY_RELAY_METRICS_PORT": str(other.relay_metrics_port)})
    # Longer than a lock of one that stands still lasts: the first one is awake.
    store.write(10)
    await relayed(world, store)
    await asyncio.sleep(10)
    await metric(other, "active", lambda value: value == 0)
    first.signal(signal.SIGSTOP)
    try:
        store.write(10)
        await relayed(world, store, within_s=25)
        await metric(other, "active", lambda value: value == 1)
    finally:
        first.signal(signal.SIGCONT)
    store.write(10)
    await relayed(world, store)
    assert first.is_running()
    await metric(other, "active", lambda value: value == 1)


@pytest.mark.long_on_stack
async def test_killed_between_any_two_steps_it_loses_nothing_and_keeps_the_order(world: World, store: Store) -> None:
    whole = world.role("relay").spec
    for step, batch in itertools.product(STEPS, (1, 2)):
        if (step, batch) == ("begun", 2):
            continue
        store.write(1200)
        argv = [sys.executable, "-m", "tests.faults.doomed_relay", step, str(batch)]
        doomed = Child(replace(whole, argv=argv, env={**whole.env, "PYTHONPATH": str(_ROOT)}))
        doomed.spawn()
        try:
            deadline = time.monotonic() + 30
            while doomed.is_running():
                assert time.monotonic() < deadline, f"it outlived {step!r}"
                await asyncio.sleep(0.01)
            assert doomed.exit_code() == -signal.SIGKILL
        finally:
            doomed.kill()
    world.start_role("relay")
    store.write(1)
    records = await relayed(world, store)
    # Only `appended` leaves doubles: a batch of at most 1,000 each time.
    assert len(records) <= len(store.ids) + 2000


@pytest.mark.long
async def test_kafka_away_and_back_loses_nothing(world: World, store: Store) -> None:
    world.start_role("relay")
    store.write(5)
    await relayed(world, store)
    world.servers.kill9("kafka")
    store.write(50)
    await metric(world.settings, "lag_events", lambda value: value == 50)
    world.servers.start("kafka")
    await relayed(world, store, within_s=60)
    await metric(world.settings, "lag_events", lambda value: value == 0)


@pytest.mark.stack
@pytest.mark.long_on_stack
async def test_the_database_away_and_back_loses_nothing(stack_world: World) -> None:
    world = stack_world
    migrate(world.settings)
    store = Store(EventDatabase(*event_engines(world.settings)))
    relay = world.start_role("relay")
    store.write(5)
    await relayed(world, store)
    world.servers.kill9("database")
    await metric(world.settings, "failures_total", lambda value: value > 0)
    world.servers.start("database")
    store.write(5)
    await relayed(world, store)
    assert relay.is_running()


@pytest.mark.long_on_stack
async def test_a_topic_made_anew_gets_the_whole_history(world: World, store: Store) -> None:
    store.write(20)
    relay = world.start_role("relay")
    await relayed(world, store)
    relay.stop()
    topic = world.settings.kafka_topic_prefix + LIFECYCLE_TOPIC
    admin = AIOKafkaAdminClient(bootstrap_servers=world.settings.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    store.write(5)
    relay.start()
    assert len(await relayed(world, store)) == 25


@pytest.mark.long_on_stack
async def test_an_overtaken_relay_stores_no_position(world: World, store: Store) -> None:
    relay = world.start_role("relay")
    store.write(5)
    await relayed(world, store)
    await metric(world.settings, "lag_events", lambda value: value == 0)
    with store.database.transaction() as connection:
        connection.execute(text("UPDATE relay_positions SET notification_id = 3"))
    store.write(2)
    deadline = time.monotonic() + 20
    while True:
        with store.database.reader() as connection:
            position = connection.execute(text("SELECT notification_id FROM relay_positions")).scalar_one()
        if position == 7:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    records = await relayed(world, store)
    # 4 and 5 again, by the position that it found, and 6 and 7 perhaps.
    assert 9 <= len(records) <= 11
    assert relay.is_running()
