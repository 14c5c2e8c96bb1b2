"""Many processes write events while others read on: nobody misses one, and nobody sees them out of order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from bridges.event_store import EventDatabase, SqlApplicationRecorder
from tests.contract.conftest import EventCorner
from tests.event_writer import events_of_one

WRITERS = 4


@pytest.mark.parametrize("each", [1_000, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_reader_behind_four_writers_misses_nothing_and_sees_all_in_order(
    event_corner: EventCorner, each: int
) -> None:
    recorder = SqlApplicationRecorder(event_corner.database)
    total = WRITERS * each
    writers = [_writer(event_corner, each) for _ in range(WRITERS)]
    try:
        subscribed: list[int] = []
        subscriber = threading.Thread(target=_subscribe, args=(recorder, total, subscribed))
        subscriber.start()
        read = _read_on(recorder, total, lambda: any(writer.poll() for writer in writers))
        assert [writer.wait(30) for writer in writers] == [0] * WRITERS
        subscriber.join(30)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert read == list(range(1, total + 1))
    assert subscribed == read
    assert recorder.max_notification_id() == total


def _writer(corner: EventCorner, count: int) -> subprocess.Popen[bytes]:
    env = {**os.environ, **corner.env}
    return subprocess.Popen([sys.executable, "-m", "tests.event_writer", str(count)], env=env)


def _read_on(recorder: SqlApplicationRecorder, total: int, failed: Callable[[], bool]) -> list[int]:
    """The ids in the order in which a reader without any pause sees them."""
    ids: list[int] = []
    while len(ids) < total and not failed():
        start = ids[-1] if ids else None
        ids += [one.id for one in recorder.select_notifications(start, 100, inclusive_of_start=False)]
    return ids


def _subscribe(recorder: SqlApplicationRecorder, total: int, ids: list[int]) -> None:
    with recorder.subscribe(gt=None) as subscription:
        for notification in subscription:
            ids.append(notification.id)
            if notification.id >= total:
                break


def test_a_subscriber_sees_events_of_its_process_at_once_and_those_of_others_soon(events: EventDatabase) -> None:
    mine = SqlApplicationRecorder(events)
    elsewhere = SqlApplicationRecorder(EventDatabase(events._writing, events._reading))
    delays_s = {}
    with mine.subscribe(gt=None) as subscription:
        for name, recorder in (("mine", mine), ("elsewhere", elsewhere), ("mine", mine)):
            recorder.insert_events(events_of_one(1, 1))
            recorded_at = time.monotonic()
            next(subscription)
            delays_s[name] = time.monotonic() - recorded_at
    assert delays_s["mine"] < 0.15
    assert delays_s["elsewhere"] < 1


def test_topics_and_bounds_choose_what_is_read(events: EventDatabase) -> None:
    recorder = SqlApplicationRecorder(events)
    recorder.insert_events(events_of_one(1, 5))
    assert [one.id for one in recorder.select_notifications(2, 10, stop=4)] == [2, 3, 4]
    assert recorder.select_notifications(None, 10, topics=["wattaway.unknown.v1"]) == []
    assert [one.id for one in recorder.select_notifications(None, 2, topics=["wattaway.tested.v1"])] == [1, 2]
