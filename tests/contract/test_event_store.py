"""The event store's contract: the library's own suites, on SQLite and on MariaDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from eventsourcing.persistence import OperationalError, RecordConflictError, StoredEvent
from eventsourcing.tests import persistence as library
from eventsourcing.utils import Environment, get_topic

from bridges.event_store import (
    EventDatabase,
    EventStoreFactory,
    SqlAggregateRecorder,
    SqlApplicationRecorder,
    SqlProcessRecorder,
    SqlTrackingRecorder,
)
from bridges.event_store_tables import VERSION_TABLE, metadata
from domain.errors import DependencyUnavailable, SettingInvalid
from domain.ports import AsOf
from ops.wiring import event_engines
from projections.dialect import read_engine, write_engine
from tests.contract.conftest import EventCorner
from tests.servers import settings_from


class _OnSQLite:
    database: EventDatabase

    @pytest.fixture(autouse=True)
    def _migrated_database(self, sqlite_corner: EventCorner) -> None:
        self.database = sqlite_corner.database


class _OnMariaDB:
    database: EventDatabase

    @pytest.fixture(autouse=True)
    def _migrated_database(self, mariadb_corner: EventCorner) -> None:
        self.database = mariadb_corner.database


class _Snapshots:
    database: EventDatabase

    def create_recorder(self) -> SqlAggregateRecorder:
        return SqlAggregateRecorder(self.database)


class _Log:
    database: EventDatabase

    def create_recorder(self) -> SqlApplicationRecorder:
        return SqlApplicationRecorder(self.database)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()  # type: ignore[attr-defined]


class _NonInterleaving:
    database: EventDatabase

    def create_recorder(self) -> SqlApplicationRecorder:
        return SqlApplicationRecorder(self.database)


class _Positions:
    database: EventDatabase

    def create_recorder(self) -> SqlTrackingRecorder:
        return SqlTrackingRecorder(self.database)


class _Process:
    database: EventDatabase

    def create_recorder(self) -> SqlProcessRecorder:
        return SqlProcessRecorder(self.database)


class OtherTrackingRecorder(SqlTrackingRecorder):
    """One that a factory is told to make."""


class GivenFactory(EventStoreFactory):
    """The factory as the library constructs it, of nothing but an environment."""

    given: ClassVar[EventDatabase]

    def __init__(self, env: Environment) -> None:
        super().__init__(env, self.given)


class _Factory:
    database: EventDatabase

    def setUp(self) -> None:
        GivenFactory.given = self.database
        self.env = Environment(name="TestCase", env={"PERSISTENCE_MODULE": get_topic(GivenFactory)})
        super().setUp()  # type: ignore[misc]

    def expected_factory_class(self) -> type[GivenFactory]:
        return GivenFactory

    def expected_aggregate_recorder_class(self) -> type[Any]:
        return SqlAggregateRecorder

    def expected_application_recorder_class(self) -> type[Any]:
        return SqlApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[Any]:
        return SqlTrackingRecorder

    def tracking_recorder_subclass(self) -> type[Any]:
        return OtherTrackingRecorder

    def expected_process_recorder_class(self) -> type[Any]:
        return SqlProcessRecorder


@pytest.mark.embedded
class TestSnapshotsOnSQLite(_OnSQLite, _Snapshots, library.AggregateRecorderTestCase): ...


@pytest.mark.stack
class TestSnapshotsOnMariaDB(_OnMariaDB, _Snapshots, library.AggregateRecorderTestCase): ...


@pytest.mark.embedded
class TestLogOnSQLite(_OnSQLite, _Log, library.ApplicationRecorderTestCase[SqlApplicationRecorder]): ...


@pytest.mark.stack
class TestLogOnMariaDB(_OnMariaDB, _Log, library.ApplicationRecorderTestCase[SqlApplicationRecorder]): ...


@pytest.mark.embedded
class TestNonInterleavingOnSQLite(_OnSQLite, _NonInterleaving, library.NonInterleavingNotificationIDsBaseCase): ...


@pytest.mark.stack
class TestNonInterleavingOnMariaDB(_OnMariaDB, _NonInterleaving, library.NonInterleavingNotificationIDsBaseCase): ...


@pytest.mark.embedded
class TestPositionsOnSQLite(_OnSQLite, _Positions, library.TrackingRecorderTestCase): ...


@pytest.mark.stack
class TestPositionsOnMariaDB(_OnMariaDB, _Positions, library.TrackingRecorderTestCase): ...


@pytest.mark.embedded
class TestProcessOnSQLite(_OnSQLite, _Process, library.ProcessRecorderTestCase): ...


@pytest.mark.stack
class TestProcessOnMariaDB(_OnMariaDB, _Process, library.ProcessRecorderTestCase): ...


@pytest.mark.embedded
class TestFactoryOnSQLite(_OnSQLite, _Factory, library.InfrastructureFactoryTestCase[GivenFactory]): ...


@pytest.mark.stack
class TestFactoryOnMariaDB(_OnMariaDB, _Factory, library.InfrastructureFactoryTestCase[GivenFactory]): ...


def test_a_decision_counts_only_if_what_it_is_based_on_was_not_changed_meanwhile(events: EventDatabase) -> None:
    recorder = SqlApplicationRecorder(events)

    def decide(topic: str, as_of: AsOf | None = None) -> None:
        recorder.insert_events([StoredEvent(uuid4(), 1, topic, b"{}")], as_of=as_of)

    decide("joined")
    start = recorder.max_notification_id() or 0
    decide("renamed")
    decide("joined", AsOf(start, ("joined", "left")))
    with pytest.raises(RecordConflictError, match="joined"):
        decide("renamed", AsOf(start, ("left", "joined")))
    decide("left", AsOf(start + 2, ("left", "joined")))
    assert [one.topic for one in recorder.select_notifications(start, 10)] == ["joined", "renamed", "joined", "left"]


def test_the_migrated_tables_are_those_of_the_recorders(events: EventDatabase) -> None:
    with events.reader() as connection:
        opts = {"version_table": VERSION_TABLE, "compare_type": True, "include_object": _ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), metadata) == []


def _ours(_thing: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    # On MySQL the read models' tables stand in the same database.
    return kind != "table" or not reflected or name in metadata.tables


def test_a_database_that_is_not_migrated_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = settings_from({"WATTAWAY_DATA_DIR": str(tmp_path)})
    with pytest.raises(SettingInvalid, match=r"WATTAWAY_EVENT_STORE_URL: .*wattaway migrate"):
        event_engines(settings)


def test_a_database_out_of_reach_is_an_error_of_the_librarys_and_ours(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'missing' / 'events.db'}"
    away = EventDatabase(write_engine(url), read_engine(url))
    with pytest.raises(OperationalError) as caught:
        SqlApplicationRecorder(away).max_notification_id()
    assert isinstance(caught.value, DependencyUnavailable)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "sqlite:///{}/events.db"),
        ({"WATTAWAY_DATABASE_URL": "sqlite:////srv/views.db"}, "sqlite:///{}/events.db"),
        ({"WATTAWAY_DATABASE_URL": "mysql+pymysql://u@h/d"}, "mysql+pymysql://u@h/d"),
        ({"WATTAWAY_EVENT_STORE_URL": "mysql+pymysql://u@h/e"}, "mysql+pymysql://u@h/e"),
    ],
)
def test_the_event_store_stands_beside_the_read_models_unless_those_are_in_sqlite(
    variables: dict[str, str], url: str, tmp_path: Path
) -> None:
    settings = settings_from({"WATTAWAY_DATA_DIR": str(tmp_path), **variables})
    assert settings.resolved_event_store_url() == url.format(tmp_path)
