"""What the API asks of the views of what was decided, on SQLite and on MariaDB."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection

from api import lifecycle_queries as ask
from domain.clock import to_instant
from domain.events import LIFECYCLE_TOPIC, REPORTS_TOPIC, DeviceEventReported
from projections.dialect import write_engine
from projections.folds import fold_records
from projections.schema import migrate
from projections.store import Store
from projections.tables import read_model
from tests.lifecycle_histories import Town
from tests.projection_records import GROUP, MovableClock, begun, stored


@pytest.fixture
def town() -> Town:
    town, chance = Town(), random.Random(7)
    for _ in range(600):
        town.happen(chance.randrange(31), chance.randrange(31), chance.randrange(31))
    return town


@pytest.fixture
def connection(database_url: str, town: Town) -> Iterator[Connection]:
    """The views of a town where socket-0 was tripped and pressed after everything."""
    migrate(database_url)
    engine = write_engine(database_url)
    store = Store(engine, read_model(), GROUP, MovableClock())
    lifecycle, reports = (LIFECYCLE_TOPIC, 0), (REPORTS_TOPIC, 0)
    told = [
        DeviceEventReported("socket-0", name, to_instant(town.at_ms + at_ms), None, {"event": "trip"} | more)
        for name, at_ms, more in (
            ("trip", 10, {}),
            ("hello", 20, {}),
            ("switched", 30, {}),
            ("trip", 40, {"again": True}),
        )
    ]
    batch = fold_records({lifecycle: stored(town.log), reports: stored(told)})
    store.commit(batch, begun(store, lifecycle, reports))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_commands_come_newest_first_in_pages_that_neither_skip_nor_repeat(connection: Connection, town: Town) -> None:
    found: list[str] = []
    before = None
    while rows := ask.command_rows(connection, "socket-0", before, 3):
        found += [row.command_id for row in rows]
        before = ask.CommandKey(rows[-1].requested_at_ms, rows[-1].command_id)
    mine = [one for one in town.commands if one.device_id == "socket-0"]
    assert found == [str(one.id) for one in sorted(mine, key=lambda one: one.created_on, reverse=True)]
    failed = ask.command_rows(connection, "socket-0", None, 100, "failed")
    assert {row.command_id for row in failed} == {str(one.id) for one in mine if one.state == "failed"}


def test_why_it_switched_is_one_query_of_commands_and_of_what_the_socket_did_itself(
    connection: Connection, town: Town
) -> None:
    rows = ask.relay_change_rows(connection, "socket-0", 50)
    assert [row.source for row in rows[:2]] == ["socket", "socket"]
    assert '"switched"' in rows[0].report and '"event":"trip"' in rows[1].report
    assert len(rows) > 2 and [row.at_ms for row in rows] == sorted((row.at_ms for row in rows), reverse=True)
    assert all(row.type in ("switch", "toggle") and row.why == "user" and row.actor for row in rows[2:])
    done = [one for one in town.commands if one.device_id == "socket-0" and one.order["type"] in ("switch", "toggle")]
    assert {str(one.id) for one in done if one.state == "acknowledged"} <= {row.command_id for row in rows[2:]}
    assert ask.relay_change_rows(connection, "socket-0", 1) == rows[:1]


def test_audit_filters_and_pages(connection: Connection, town: Town) -> None:
    everything: list[Any] = []
    before = None
    while rows := ask.audit_rows(connection, ask.AuditFilter(), before, 7):
        everything += rows
        before = ask.AuditKey(*(getattr(rows[-1], name) for name in ask.AuditKey._fields))
    assert len(everything) == len(town.log)
    assert everything == sorted(everything, key=lambda row: (row.at_ms, row.originator_id, row.version), reverse=True)
    some = everything[len(everything) // 2]
    filters = ("actor", "subject_kind", "subject_id", "device_id", "tenant_id", "correlation_id", "action", "denied")
    for name in filters:
        wanted = next((getattr(row, name) for row in everything if getattr(row, name)), None)
        found = ask.audit_rows(connection, ask.AuditFilter(**{name: wanted}), None, 1000)
        assert found == [row for row in everything if getattr(row, name) == wanted], name
    between = ask.AuditFilter(from_ms=some.at_ms, to_ms=some.at_ms + 5000)
    expected = [row for row in everything if some.at_ms <= row.at_ms < some.at_ms + 5000]
    assert ask.audit_rows(connection, between, None, 1000) == expected
