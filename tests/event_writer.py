"""A process that writes events: `python -m tests.event_writer COUNT`, into the event store of its settings.

Now and then it writes what is there already, as a loser of optimistic concurrency does: that must leave no gap.
"""

from __future__ import annotations

import random
import sys
from uuid import uuid4

from eventsourcing.persistence import IntegrityError, StoredEvent

from bridges.event_store import EventDatabase, SqlApplicationRecorder
from ops.settings import load_settings
from ops.wiring import event_engines

STATE = b'{"state":"' + b"x" * 200 + b'"}'


def events_of_one(first: int, count: int) -> list[StoredEvent]:
    """Events of a new aggregate."""
    originator_id = uuid4()
    return [StoredEvent(originator_id, version, "wattaway.tested.v1", STATE) for version in range(first, first + count)]


def main() -> None:
    left = int(sys.argv[1])
    recorder = SqlApplicationRecorder(EventDatabase(*event_engines(load_settings())))
    while left:
        events = events_of_one(1, min(left, random.randint(1, 5)))
        ids = recorder.insert_events(events)
        assert ids is not None
        assert [*ids] == [*range(ids[0], ids[0] + len(events))]
        left -= len(events)
        if random.random() < 0.1:
            try:
                recorder.insert_events([*events_of_one(1, 2), events[-1]])
            except IntegrityError:
                continue
            raise AssertionError("the same version was taken twice")


if __name__ == "__main__":
    main()
