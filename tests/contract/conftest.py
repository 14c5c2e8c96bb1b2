"""An event store and read models of a test's own, on SQLite and on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bridges.event_store import EventDatabase
from ops.settings import Settings
from ops.wiring import event_engines, migrate
from projections import schema
from projections.dialect import write_engine
from tests.servers import World, settings_from


@dataclass(frozen=True)
class EventCorner:
    """A migrated event store and the variables that point other processes at it."""

    database: EventDatabase
    settings: Settings
    env: Mapping[str, str]


@contextmanager
def _corner(env: Mapping[str, str]) -> Iterator[EventCorner]:
    settings = settings_from(env)
    migrate(settings)
    writing, reading = event_engines(settings)
    try:
        yield EventCorner(EventDatabase(writing, reading), settings, env)
    finally:
        writing.dispose()
        reading.dispose()


@pytest.fixture
def sqlite_corner(tmp_path: Path) -> Iterator[EventCorner]:
    """The tables of a `wattaway migrate` in a fresh file."""
    with _corner({"WATTAWAY_DATA_DIR": str(tmp_path)}) as corner:
        yield corner


@pytest.fixture
def mariadb_corner(stack_world: World) -> Iterator[EventCorner]:
    """The same in a fresh database of the real server."""
    with _corner(stack_world.env) as corner:
        yield corner


@pytest.fixture(
    params=[
        pytest.param("sqlite_corner", marks=pytest.mark.embedded),
        pytest.param("mariadb_corner", marks=pytest.mark.stack),
    ]
)
def event_corner(request: pytest.FixtureRequest) -> EventCorner:
    """Both, one after the other."""
    chosen: EventCorner = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def events(event_corner: EventCorner) -> EventDatabase:
    """The event store of both."""
    return event_corner.database


@pytest.fixture(
    params=[pytest.param("sqlite", marks=pytest.mark.embedded), pytest.param("mysql", marks=pytest.mark.stack)]
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for read models."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'read.db'}"
    world: World = request.getfixturevalue("stack_world")
    return world.settings.resolved_database_url()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The same with the read models' tables."""
    schema.migrate(database_url)
    engine = write_engine(database_url)
    yield engine
    engine.dispose()
