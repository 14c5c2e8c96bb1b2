"""Recorders of the `eventsourcing` library on SQLAlchemy Core: one code path for MySQL, MariaDB and SQLite.

Notification ids have no gaps and stand in the order of the commits, so that whoever reads on from the last id that he
has seen misses nothing: the first statement of every insert takes the lock of the sequence's row, and holds it until
the transaction is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    Notification,
    ProcessRecorder,
    RecordConflictError,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, resolve_topic
from sqlalchemy import Connection, Engine, Table, func, insert, select, update

from bridges.event_store_errors import library_errors
from bridges.event_store_tables import event_sequence, snapshots, stored_events, tracking
from bridges.event_subscription import EventSubscription
from domain.ports import AsOf, Beside

Recorded = Callable[[int, Collection[str]], None]


class EventDatabase:
    """Where the recorders write and read, and who is told.

    Args:
        writing: its transactions take their locks at once (`BEGIN IMMEDIATE`) and see what others have committed.
        reading: each of its statements sees the newest committed rows.
    """

    def __init__(self, writing: Engine, reading: Engine) -> None:
        self._writing, self._reading = writing, reading
        self._listeners: list[Recorded] = []

    def tell(self, listener: Recorded) -> Callable[[], None]:
        """Call `listener` after every insert of this process, in the inserting thread.

        It gets the newest notification id and the topics of what was inserted.

        Returns:
            What ends that.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def recorded(self, newest_id: int, topics: Collection[str]) -> None:
        """Tell whoever listens."""
        for listener in tuple(self._listeners):
            listener(newest_id, topics)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction, all or nothing; errors are the library's."""
        with library_errors(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """A connection for reading; errors are the library's."""
        with library_errors(), self._reading.connect() as connection:
            yield connection


class SqlAggregateRecorder(AggregateRecorder):
    """Events of each aggregate in their order; the table may be numbered (events) or not (snapshots)."""

    def __init__(self, database: EventDatabase, table: Table = snapshots) -> None:
        self._database, self._table = database, table

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._record(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        column = self._table.c
        version = column.originator_version
        query = select(version, column.topic, column.state).where(column.originator_id == str(originator_id))
        query = query.where(version > gt) if gt is not None else query
        query = query.where(version <= lte) if lte is not None else query
        query = query.order_by(version.desc() if desc else version).limit(limit)
        with self._database.reader() as connection:
            rows = connection.execute(query).all()
        return [StoredEvent(originator_id, *row) for row in rows]

    def _record(self, events: Sequence[StoredEvent], **kwargs: Any) -> range:
        """The ids of these events, now committed."""
        with self._database.transaction() as connection:
            ids = self._insert(connection, events, **kwargs)
        if ids:
            self._database.recorded(ids[-1], {event.topic for event in events})
        return ids

    def _insert(self, connection: Connection, events: Sequence[StoredEvent], **_: Any) -> range:
        rows: list[dict[str, Any]] = [
            {
                "originator_id": str(event.originator_id),
                "originator_version": event.originator_version,
                "topic": event.topic,
                "state": event.state,
            }
            for event in events
        ]
        ids = range(0)
        if rows and "notification_id" in self._table.c:
            ids = _take_ids(connection, self._table.name, len(rows))
            for row, notification_id in zip(rows, ids, strict=True):
                row["notification_id"] = notification_id
        if rows:
            connection.execute(insert(self._table), rows)
        return ids


def _take_ids(connection: Connection, name: str, count: int) -> range:
    """The next `count` ids. From here on until the commit, no one else gets any."""
    column = event_sequence.c.last_id
    move = update(event_sequence).where(event_sequence.c.name == name)
    if connection.dialect.name == "sqlite":
        last = connection.execute(move.values(last_id=column + count).returning(column)).scalar_one()
    else:
        # The answer to the UPDATE carries the number: a SELECT would be another round trip for which all others wait.
        last = connection.execute(move.values(last_id=func.last_insert_id(column + count))).lastrowid
    return range(last - count + 1, last + 1)


class SqlApplicationRecorder(SqlAggregateRecorder, ApplicationRecorder):
    """The same, and all of them in one numbered log."""

    def __init__(self, database: EventDatabase, table: Table = stored_events) -> None:
        super().__init__(database, table)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return list(self._record(stored_events, **kwargs))

    def _insert(
        self,
        connection: Connection,
        events: Sequence[StoredEvent],
        *,
        beside: Sequence[Beside] = (),
        as_of: AsOf | None = None,
        **_: Any,
    ) -> range:
        ids = super()._insert(connection, events)
        if as_of is not None and ids:
            self._check(connection, as_of, ids.start)
        for change in beside:
            change(connection)
        return ids

    def _check(self, connection: Connection, as_of: AsOf, own_start: int) -> None:
        # Our ids are taken, so nobody can add to what stands below them.
        column = self._table.c
        between = column.notification_id.between(as_of.position + 1, own_start - 1)
        since = select(column.topic).where(between, column.topic.in_(as_of.topics)).limit(1)
        if (topic := connection.execute(since).scalar()) is not None:
            raise RecordConflictError(f"{topic} was decided meanwhile")

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        column = self._table.c
        number = column.notification_id
        query = select(column.originator_id, column.originator_version, column.topic, column.state, number)
        if start is not None:
            query = query.where(number >= start if inclusive_of_start else number > start)
        query = query.where(number <= stop) if stop is not None else query
        query = query.where(column.topic.in_(topics)) if topics else query
        with self._database.reader() as connection:
            rows = connection.execute(query.order_by(number).limit(limit)).all()
        return [Notification(UUID(row[0]), *row[1:]) for row in rows]

    def max_notification_id(self) -> int | None:
        with self._database.reader() as connection:
            newest: int | None = connection.execute(select(func.max(self._table.c.notification_id))).scalar_one()
        return newest

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return EventSubscription(self, self._database.tell, gt, topics)


class SqlTrackingRecorder(TrackingRecorder):
    """How far each upstream has been processed: one row each, which only grows."""

    def __init__(self, database: EventDatabase) -> None:
        self._database = database

    def insert_tracking(self, tracking: Tracking) -> None:
        with self._database.transaction() as connection:
            _track(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        query = select(tracking.c.notification_id).where(tracking.c.application_name == application_name)
        with self._database.reader() as connection:
            return connection.execute(query).scalars().one_or_none()


def _track(connection: Connection, reached: Tracking) -> None:
    name, position = reached.application_name, reached.notification_id
    mine, behind = tracking.c.application_name == name, tracking.c.notification_id < position
    if connection.execute(update(tracking).where(mine, behind).values(notification_id=position)).rowcount == 0:
        # The first one; otherwise the key is taken, by a position that is no lower.
        connection.execute(insert(tracking).values(application_name=name, notification_id=position))


class SqlProcessRecorder(SqlTrackingRecorder, SqlApplicationRecorder, ProcessRecorder):
    """Events, and in the same transaction the position that they were decided at."""

    def __init__(self, database: EventDatabase) -> None:
        SqlApplicationRecorder.__init__(self, database)

    def _insert(
        self, connection: Connection, events: Sequence[StoredEvent], *, tracking: Tracking | None = None, **more: Any
    ) -> range:
        ids = super()._insert(connection, events, **more)
        if tracking is not None:
            _track(connection, tracking)
        return ids


class EventStoreFactory(InfrastructureFactory[SqlTrackingRecorder]):
    """What the library's `Application` builds its parts with; the tables come from `wattaway migrate`."""

    _TABLES: ClassVar = {"events": stored_events, "snapshots": snapshots}

    def __init__(self, env: Environment | dict[str, str] | None, database: EventDatabase) -> None:
        super().__init__(env)
        self.database = database

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        return SqlAggregateRecorder(self.database, self._TABLES[purpose])

    def application_recorder(self) -> ApplicationRecorder:
        return SqlApplicationRecorder(self.database)

    def tracking_recorder(
        self, tracking_recorder_class: type[SqlTrackingRecorder] | None = None
    ) -> SqlTrackingRecorder:
        if tracking_recorder_class is None:
            topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
            tracking_recorder_class = resolve_topic(topic) if topic else SqlTrackingRecorder
        return tracking_recorder_class(self.database)

    def process_recorder(self) -> ProcessRecorder:
        return SqlProcessRecorder(self.database)
