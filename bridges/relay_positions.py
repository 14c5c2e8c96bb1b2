"""How far the relay has come, in the event store's database: moved only by whoever knows where it stands."""

from __future__ import annotations

import structlog
from sqlalchemy import insert, select, update

from bridges.event_store import EventDatabase
from bridges.event_store_tables import relay_positions
from domain.errors import PositionFenced

log = structlog.get_logger()

_column = relay_positions.c


class RelayPosition:
    """The position of one relay.

    Args:
        relay: its name, the Kafka topic's.
    """

    def __init__(self, database: EventDatabase, relay: str) -> None:
        self._database, self._relay = database, relay

    def begin(self, topic_id: str) -> int:
        """The id of the last event in the topic with this id; 0 in a topic that has none of them.

        Where a topic was made anew, it gets the whole history again: the event store has it.
        """
        mine = _column.relay == self._relay
        fresh = {"topic_id": topic_id, "notification_id": 0}
        with self._database.transaction() as connection:
            row = connection.execute(select(_column.topic_id, _column.notification_id).where(mine)).one_or_none()
            if row is not None and row.topic_id == topic_id:
                return int(row.notification_id)
            if row is None:
                connection.execute(insert(relay_positions).values(relay=self._relay, **fresh))
            else:
                log.warning("topic made anew, relaying from the beginning", topic=self._relay, was=row.notification_id)
                connection.execute(update(relay_positions).where(mine).values(fresh))
        return 0

    def move(self, topic_id: str, before: int, after: int) -> None:
        """Move it from `before` to `after`.

        Raises:
            PositionFenced: it does not stand at `before`: another relay has moved it.
        """
        there = (_column.relay == self._relay, _column.topic_id == topic_id, _column.notification_id == before)
        with self._database.transaction() as connection:
            if connection.execute(update(relay_positions).where(*there).values(notification_id=after)).rowcount != 1:
                raise PositionFenced(f"another relay has moved {self._relay} on from {before}")
