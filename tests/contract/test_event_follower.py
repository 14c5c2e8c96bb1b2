"""Followers of the event store's log see every event once, in order, and soon; on SQLite and on MariaDB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from eventsourcing.persistence import Notification, OperationalError, StoredEvent

from bridges.event_follower import BATCH, EventFollower
from bridges.event_hints import HintPublisher, hint_channel, listen_for_hints
from bridges.event_store import EventDatabase, SqlApplicationRecorder
from domain.errors import DependencyUnavailable
from ops.child import Child
from ops.embedded.valkey import EmbeddedValkey, socket_path
from tests.event_writer import events_of_one

CHANNEL = hint_channel("t:")


class Seen:
    """A fold that remembers what it was given."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def __call__(self, events: Sequence[Notification]) -> None:
        self.ids += [event.id for event in events]


class Away(SqlApplicationRecorder):
    """A recorder whose database can be away."""

    away = False
    reads = 0

    def select_notifications(self, *args: object, **kwargs: object) -> Sequence[Notification]:
        self.reads += 1
        if self.away:
            raise OperationalError("gone away")
        return super().select_notifications(*args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def recorder(events: EventDatabase) -> Away:
    return Away(events)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@asynccontextmanager
async def running(follower: EventFollower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def record(recorder: SqlApplicationRecorder, count: int = 1, *, topic: str | None = None) -> int:
    """The id of the last of so many events."""
    events = events_of_one(1, count)
    if topic is not None:
        events = [StoredEvent(one.originator_id, one.originator_version, topic, one.state) for one in events]
    ids = await asyncio.to_thread(recorder.insert_events, events)
    assert ids is not None
    return ids[-1]


async def test_catching_up_folds_every_event_once_in_order(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen)
    await follower.catch_up()
    assert seen.ids == []
    last = await record(recorder, 2 * BATCH + 3)
    await follower.catch_up()
    assert seen.ids == list(range(1, last + 1))
    assert follower.position == last


async def test_whoever_has_written_sees_it_after_catching_up_to_it(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen, poll_s=60)
    async with running(follower):
        written = await asyncio.gather(*(record(recorder) for _ in range(20)))
        await asyncio.gather(*(follower.catch_up(one) for one in written))
        assert seen.ids == sorted(written)


async def test_events_of_other_processes_are_seen_by_polling(recorder: Away, seen: Seen) -> None:
    async with running(EventFollower(recorder, seen)):
        last = await record(recorder, 3)
        await until(lambda: seen.ids == [1, 2, last], within_s=2)


async def test_many_who_wait_for_the_next_look_cause_none(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen, poll_s=0.2)
    async with running(follower):
        await until(lambda: recorder.reads == 1)
        written = await record(recorder)
        started = time.monotonic()
        await asyncio.gather(*(follower.next_look() for _ in range(200)))
        assert written in seen.ids
        assert time.monotonic() - started < 1
        assert recorder.reads <= 3
    recorder.away = True
    async with running(follower):
        started = time.monotonic()
        await follower.next_look(within_s=0.3)
        assert 0.3 <= time.monotonic() - started < 2


async def test_a_hint_wakes_at_once_and_an_old_one_does_not(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen, poll_s=60)
    async with running(follower):
        await until(lambda: not follower._turn.locked())
        last = await record(recorder)
        follower.hint(last)
        await until(lambda: seen.ids == [last])
        follower.hint(last)
        assert not follower._woken.is_set()


async def test_events_left_out_by_their_topic_move_the_position_too(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen, topics=["wattaway.wanted.v1"])
    await record(recorder, 5)
    wanted = await record(recorder, 2, topic="wattaway.wanted.v1")
    last = await record(recorder, 5)
    await follower.catch_up(last, within_s=2)
    assert seen.ids == [wanted - 1, wanted]
    assert follower.position == last


async def test_an_event_that_never_comes_is_told(recorder: Away, seen: Seen) -> None:
    last = await record(recorder)
    with pytest.raises(DependencyUnavailable, match="not in the log"):
        await EventFollower(recorder, seen).catch_up(last + 1, within_s=0.1)
    assert seen.ids == [last]


async def test_a_database_that_is_away_is_waited_for(recorder: Away, seen: Seen) -> None:
    follower = EventFollower(recorder, seen)
    last = await record(recorder)
    recorder.away = True
    async with running(follower):
        with pytest.raises(DependencyUnavailable, match="gone away"):
            await follower.catch_up(last, within_s=0.1)
        recorder.away = False
        await until(lambda: seen.ids == [last])


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Child]:
    child = Child(EmbeddedValkey(tmp_path).spec())
    child.start()
    yield child
    child.stop()


@asynccontextmanager
async def hinting(folder: Path, *topics: str) -> AsyncIterator[tuple[HintPublisher, list[int]]]:
    """Who publishes hints, and those that arrive at one who follows these topics."""
    url, hints = f"unix://{socket_path(folder)}", list[int]()
    publish = HintPublisher(url, CHANNEL)
    listening = asyncio.create_task(listen_for_hints(url, CHANNEL, hints.append, topics=topics))
    try:
        yield publish, hints
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        publish.close()


@pytest.mark.embedded
async def test_hints_go_through_redis_and_are_only_missed_without_it(valkey: Child, tmp_path: Path) -> None:
    async with hinting(tmp_path) as (publish, hints):

        async def arrives(number: int) -> None:
            deadline = time.monotonic() + 15
            while number not in hints:
                assert time.monotonic() < deadline
                await asyncio.to_thread(publish, number, ["wattaway.said.v1"])
                await asyncio.sleep(0.05)

        await arrives(7)
        valkey.kill()
        await asyncio.to_thread(publish, 8, ["wattaway.said.v1"])
        started = time.monotonic()
        for number in range(100):
            await asyncio.to_thread(publish, number, ["wattaway.said.v1"])
        assert time.monotonic() - started < 1
        valkey.start()
        await arrives(9)
        assert 8 not in hints


@pytest.mark.embedded
async def test_whoever_follows_some_topics_is_not_woken_by_others(valkey: Child, tmp_path: Path) -> None:
    async with hinting(tmp_path, "wattaway.wanted.v1", "wattaway.rare.v1") as (publish, hints):
        deadline = time.monotonic() + 15
        while not hints:
            assert time.monotonic() < deadline
            await asyncio.to_thread(publish, 1, ["wattaway.wanted.v1"])
            await asyncio.sleep(0.05)
        await asyncio.to_thread(publish, 2, ["wattaway.other.v1"])
        await asyncio.to_thread(publish, 3, ["wattaway.other.v1", "wattaway.rare.v1"])
        while hints[-1] != 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert 2 not in hints
