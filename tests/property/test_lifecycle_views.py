"""The views of people, sockets and commands are what the aggregates themselves say, however the log is cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from domain.events import LIFECYCLE_TOPIC, Record
from projections.dialect import write_engine
from projections.folded import Place
from projections.folds import fold_records
from projections.lifecycle_tables import LifecycleTables
from projections.schema import create_generation
from projections.store import Store
from projections.tables import read_model
from tests.lifecycle_histories import SECRET, Rows, Town
from tests.projection_records import GROUP, MovableClock, begun, dump, stored

_PARTITIONS = 3
Log = dict[Place, list[Record]]


@contextmanager
def fresh_database() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = write_engine(f"sqlite:///{folder}/read.db")
        try:
            with engine.begin() as connection:
                create_generation(connection, read_model(), 0)
            yield engine
        finally:
            engine.dispose()


@st.composite
def towns(draw: st.DrawFn) -> Town:
    town = Town()
    small = st.integers(0, 30)
    for what, which, how in draw(st.lists(st.tuples(small, small, small), max_size=60)):
        town.happen(what, which, how)
    return town


def log_of(records: Sequence[Record]) -> Log:
    """These records in their partitions."""
    places: Log = {(LIFECYCLE_TOPIC, n): [] for n in range(_PARTITIONS)}
    for record in records:
        places[LIFECYCLE_TOPIC, crc32(record.key) % _PARTITIONS].append(record)
    return places


def doubled(records: Sequence[Record], stumbles: Sequence[tuple[int, int, int]]) -> list[Record]:
    """The log of a relay that went back now and then, and carried a stretch again; a late one stops in the middle."""
    log = list(records)
    for at, back, length in stumbles:
        end = at % (len(log) + 1)
        start = max(0, end - back)
        log[end:end] = log[start : min(end, start + length)]
    return log


def project(engine: Engine, log: Log, cuts: Sequence[int]) -> None:
    """Fold the log in batches that take so many records of one partition after the other."""
    store = Store(engine, read_model(), GROUP, MovableClock())
    held = begun(store, *log)
    ends = {place: stored(records) for place, records in log.items()}
    turn = 0
    while any(held[place].next_offset < len(records) for place, records in ends.items()):
        batch = {}
        for place, records in ends.items():
            at = held[place].next_offset
            batch[place] = records[at : at + (cuts[turn % len(cuts)] if cuts else len(records))]
            turn += 1
        folded = fold_records({place: some for place, some in batch.items() if some})
        store.commit(folded, held)
        for place, offset in folded.next_offsets.items():
            held[place] = held[place]._replace(next_offset=offset)


def as_the_aggregates_say(engine: Engine) -> Rows:
    """The tables, cut down to what aggregates keep."""
    queries = {
        "users": "SELECT * FROM users",
        "tenants": "SELECT * FROM tenants",
        "tenant_members": "SELECT tenant_id, user_id, role FROM tenant_members",
        "site_admins": "SELECT user_id FROM site_admins",
        "registered_devices": "SELECT device_id, tenant_id, name_sealed, location_sealed, config_version, config_json, "
        "decommissioned_at_ms IS NULL, version FROM registered_devices",
        "device_shares": "SELECT * FROM device_shares",
        "commands": "SELECT command_id, device_id, order_json, state, attempts, last_dispatched_at_ms, "
        "late_result IS NOT NULL, version FROM commands",
        "firmware_versions": "SELECT * FROM firmware_versions",
    }
    with engine.begin() as connection:
        found = {name: [tuple(row) for row in connection.execute(text(sql))] for name, sql in queries.items()}
    return {name: sorted(rows, key=str) for name, rows in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    towns(),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40), st.integers(1, 40)), max_size=4),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_views_are_the_state_of_the_aggregates_however_the_log_is_cut_and_doubled(
    town: Town, stumbles: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    plain, again = log_of(town.log), log_of(doubled(town.log, stumbles))
    with fresh_database() as once, fresh_database() as whole, fresh_database() as cut:
        project(once, plain, [])
        project(whole, again, [])
        project(cut, again, cuts)
        assert dump(cut) == dump(whole)
        tables = dump(once)
        assert {name: tables[name] for name in LifecycleTables._fields} == {
            name: rows for name, rows in dump(whole).items() if name in LifecycleTables._fields
        }
        assert as_the_aggregates_say(once) == {name: sorted(rows, key=str) for name, rows in town.rows().items()}
    failed = [command for command in town.commands if command.state == "failed"]
    assert len(tables["audit_log"]) == len(town.log)
    assert SECRET not in str(tables)
    assert sorted(row[9] for row in tables["dead_letters"]) == sorted(str(command.id) for command in failed)


@settings(max_examples=40, deadline=None)
@given(towns())
def test_every_command_has_one_ending_and_its_instants_are_in_order(town: Town) -> None:
    with fresh_database() as engine:
        project(engine, log_of(town.log), [])
        with engine.begin() as connection:
            rows = connection.execute(read_model().lifecycle.commands.select()).all()
    for row in rows:
        assert (row.ended_at_ms is not None) == (row.state not in ("requested", "dispatched"))
        assert (row.acted_at_ms is not None) == (row.state == "acknowledged" or row.late_result == "done")
        assert (row.first_dispatched_at_ms is not None) == (row.attempts > 0)
        instants = (row.requested_at_ms, row.first_dispatched_at_ms, row.last_dispatched_at_ms, row.ended_at_ms)
        assert all(a <= b for a, b in pairwise(at_ms for at_ms in instants if at_ms is not None))
