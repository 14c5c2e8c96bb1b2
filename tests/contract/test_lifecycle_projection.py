"""The lifecycle topic in the projector, in a rebuild and in a verification, on both ways to run."""

from __future__ import annotations

import random

import pytest
from alembic import command
from sqlalchemy import insert, text

from domain.events import LIFECYCLE_TOPIC, Record
from projections.dialect import write_engine
from projections.folds import PROJECTED_TOPICS
from projections.lifecycle_tables import LifecycleTables
from projections.rebuild import rebuild
from projections.schema import READ_MODELS, _config, check_schema, migrate
from projections.tables import device_ref_of, read_model
from tests.lifecycle_histories import SECRET, Town
from tests.projection_records import T0_MS, append, dump, reading
from tests.projector_run import checked, count, options_of, running, source_of, spoil, until, until_there
from tests.servers import World


def a_town(happenings: int = 200) -> Town:
    """A history that has everything in it, a failed command too."""
    town, chance = Town(), random.Random(7)
    for _ in range(happenings):
        town.happen(chance.randrange(31), chance.randrange(31), chance.randrange(31))
    assert {one.state for one in town.commands} >= {"acknowledged", "rejected", "failed", "expired"}
    return town


def poisoned(record: Record, value: bytes) -> Record:
    headers = [(name, b"bad" if name == "ce_id" else content) for name, content in record.headers]
    return record._replace(value=value, headers=headers)


async def until_audited(world: World, events: int) -> None:
    async def holds() -> bool:
        return await count(world, "audit_log") >= events

    await until(holds)


async def test_what_was_decided_becomes_views_that_verify_and_can_be_rebuilt(world: World) -> None:
    town = a_town()
    half = len(town.log) // 2
    bad = [poisoned(town.log[0], b"{"), poisoned(town.log[0], b"null"), town.log[0]._replace(headers=[])]
    failed = sum(one.state == "failed" for one in town.commands)
    async with running(world):
        await append(world, [*town.log[:half], *bad, *town.log[half - 30 : half]])
        await until_audited(world, half)
        found = await checked(world)
        assert found.ok and not found.findings, str(found)
        await spoil(world, "UPDATE commands SET state = 'expired'")
        await spoil(world, "DELETE FROM audit_log WHERE version = 1")
        await rebuild(source_of(world), options_of(world))
        await append(world, [*town.log[half:], *town.log[half:], *town.log])
        await until_audited(world, len(town.log))

        async def all_failures() -> bool:
            return await count(world, "dead_letters") == len(bad) + failed and (await checked(world)).lag_records == 0

        await until(all_failures)
        found = await checked(world)
    assert found.ok and not found.findings, str(found)
    rows = {one.table: one.rows for one in found.tables}
    assert rows["audit_log"] == len(town.log) and rows["commands"] == len(town.commands)
    engine = write_engine(world.settings.resolved_database_url())
    tables = dump(engine)
    engine.dispose()
    expected = town.rows()
    assert [row[:1] for row in tables["users"]] == [row[:1] for row in expected["users"]]
    assert sorted((row[0], row[8]) for row in tables["commands"]) == sorted((r[0], r[3]) for r in expected["commands"])
    reasons = sorted(row[7] for row in tables["dead_letters"])
    assert reasons == sorted(["command_failed"] * failed + ["event_type", "schema", "schema"])
    assert SECRET not in str({name: tables[name] for name in LifecycleTables._fields})


PLANTED = [
    ("UPDATE audit_log SET after_json = '{}' WHERE version = 1 AND subject_kind = 'tenant'", "audit_log"),
    ("UPDATE firmware_versions SET withdrawn_at_ms = NULL", "firmware_versions"),
    ("UPDATE commands SET attempts = 99", "commands"),
    ("DELETE FROM device_shares", "device_shares"),
    ("UPDATE registered_devices SET tenant_id = 'x'", "registered_devices: device_id socket-0: tenant_id is 'x' live"),
    ("DELETE FROM tenant_members", "tenant_members"),
    ("UPDATE tenants SET name_sealed = 'x'", "tenants"),
    ("DELETE FROM site_admins", "site_admins"),
    ("UPDATE users SET forgotten = 1 - forgotten", "users"),
]


@pytest.mark.long_on_stack
async def test_every_planted_corruption_of_the_views_is_named(world: World) -> None:
    town = Town()
    for what in ((2, 0, 4), (5, 0, 0), (7, 0, 1), (7, 0, 15)):
        town.happen(*what)
    await append(world, town.log)
    async with running(world):
        await until_audited(world, len(town.log))
    assert (await checked(world)).ok
    for sql, where in PLANTED:
        await spoil(world, sql)
        found = await checked(world)
        assert not found.ok and where in str(found.first_difference), sql
    await rebuild(source_of(world), options_of(world))
    assert (await checked(world)).ok


@pytest.mark.parametrize("order", ["swapped", "missing"])
@pytest.mark.long_on_stack
async def test_events_of_an_aggregate_out_of_order_are_a_failure(embedded_world: World, order: str) -> None:
    world, town = embedded_world, Town()
    for how in (7, 14):
        town.happen(0, 0, how)
    mine = [record for record in town.log if record.key == str(town.users[0].id).encode()]
    log = [mine[0], mine[2], mine[1]] if order == "swapped" else [mine[0], mine[2]]
    await append(world, log)
    async with running(world):
        await until_audited(world, len(log))
        found = await checked(world)
    assert "version 3 stands in" in str(found.first_difference) and "behind version 1" in str(found.first_difference)


@pytest.mark.long_on_stack
async def test_an_event_that_comes_twice_with_two_contents_is_listed(embedded_world: World) -> None:
    world, town = embedded_world, Town()
    changed = town.log[0]._replace(value=(town.log[0].value).replace(b"name-0", b"name-x"))
    await append(world, [*town.log, changed])
    async with running(world):
        await until_audited(world, len(town.log))

        async def read() -> bool:
            return (await checked(world)).lag_records == 0

        await until(read)
        found = await checked(world)
    assert found.ok and "two contents" in found.findings[0], str(found)


@pytest.mark.long_on_stack
async def test_a_projector_of_before_goes_on_with_the_topic_that_was_added(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same static member comes back at once, as in an update, and must not keep the assignment of before."""
    town = Town()
    await append(world, [reading(world.device_id(), 1), *town.log])
    with monkeypatch.context() as before:
        topics = tuple(name for name in PROJECTED_TOPICS if name != LIFECYCLE_TOPIC)
        before.setattr("projections.log_consumer.PROJECTED_TOPICS", topics)
        async with running(world):
            await until_there(world, 1)
    assert await count(world, "audit_log") == 0
    async with running(world):
        await append(world, [reading(world.device_id(), 2)])
        await until_there(world, 2)
        await until_audited(world, len(town.log))
        assert (await checked(world)).ok


@pytest.mark.long_on_stack
def test_a_database_of_before_keeps_its_rows_when_it_is_migrated(database_url: str) -> None:
    engine, model = write_engine(database_url), read_model()
    with engine.begin() as connection:
        config = _config(READ_MODELS)
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    device = {"device_ref": device_ref_of("socket"), "device_id": "socket", "first_seen_at_ms": T0_MS, "online": True}
    position = {"consumer_group": "g", "topic": "t", "log_partition": 0, "topic_id": "i", "next_offset": 7}
    with engine.begin() as connection:
        connection.execute(insert(model.devices), [device])
        connection.execute(insert(model.consumer_positions), [{**position, "generation": "live"}])
        kept = {
            name: connection.execute(text(f"SELECT * FROM {name}")).all() for name in ("devices", "consumer_positions")
        }
    migrate(database_url)
    check_schema(engine)
    tables = dump(engine)
    engine.dispose()
    assert all(tables[name] == [tuple(row) for row in rows] for name, rows in kept.items())
    assert not any(tables[name] for name in LifecycleTables._fields)
