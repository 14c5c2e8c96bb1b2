"""The store's contract, on SQLite and on MariaDB."""

from __future__ import annotations

import threading
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from domain.clock import to_instant
from domain.errors import DependencyUnavailable, LogReplaced, PositionFenced, SettingInvalid
from domain.events import DEAD_LETTERS_TOPIC, REPORTS_TOPIC, PresenceChanged, dead_letter
from projections.dialect import (
    drop_generation,
    is_mysql,
    snapshot_engine,
    swap_generations,
    translated_errors,
    write_engine,
)
from projections.folded import FoldedBatch, Presence
from projections.folds import fold_records
from projections.partitions import add_partitions
from projections.positions import check_topic_ids, read_positions
from projections.recompute import recompute_closed
from projections.rollups import QUARTER_MS
from projections.schema import check_schema, create_generation, migrate
from projections.store import DeviceRefTaken, Store
from projections.tables import ReadModel, device_ref_of, read_model
from tests.plain_buckets import fold_buckets
from tests.projection_records import (
    GROUP,
    READINGS,
    T0_MS,
    MovableClock,
    begun,
    dump,
    poison,
    presence,
    reading,
    stored,
)

UTC = ZoneInfo("UTC")
LIVE = read_model()
STEPS = ("positions moved", "readings written", "buckets marked", "rows written")


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(T0_MS + 10 * QUARTER_MS)


def batch_of(*events: object, offset: int = 0) -> FoldedBatch:
    return fold_records({READINGS: stored(events, offset)})  # type: ignore[arg-type]


class Killed(BaseException):
    """What a crash hook raises."""


def test_the_migrated_schema_is_that_of_the_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, LIVE.metadata) == []
    check_schema(engine)


def test_tables_made_directly_are_those_of_the_migration(engine: Engine) -> None:
    other = read_model("other")
    with engine.begin() as connection:
        create_generation(connection, other, T0_MS)
        found = [_shape(connection, table.name) for table in LIVE.tables()]
        made = [[line.replace("_other", "") for line in _shape(connection, table.name)] for table in other.tables()]
        drop_generation(connection, other)
    assert found == made


def _shape(connection: object, name: str) -> list[str]:
    mysql = is_mysql(connection)  # type: ignore[arg-type]
    sql = (
        f"SHOW CREATE TABLE {name}"
        if mysql
        else f"SELECT sql FROM sqlite_master WHERE tbl_name = '{name}' AND sql > ''"
    )
    cells = [str(row[-1]) for row in connection.execute(text(sql))]  # type: ignore[attr-defined]
    lines = [line.strip(" ,").replace('"', "").replace("`", "") for cell in cells for line in cell.splitlines()]
    return sorted(line for line in lines if line and "PARTITION" not in line)


def test_a_database_without_tables_is_refused_with_what_to_do(database_url: str) -> None:
    engine = write_engine(database_url)
    with pytest.raises(SettingInvalid, match="wattaway migrate"):
        check_schema(engine)
    engine.dispose()


def test_migrating_twice_at_once_is_as_once(database_url: str) -> None:
    threads = [threading.Thread(target=migrate, args=(database_url,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    engine = write_engine(database_url)
    check_schema(engine)
    engine.dispose()


def test_everything_of_a_batch_is_stored(engine: Engine, clock: MovableClock) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    reports, letters = (REPORTS_TOPIC, 1), (DEAD_LETTERS_TOPIC, 2)
    positions = begun(store, READINGS, reports, letters)
    says = presence(firmware="1.4.0 ü😀", config=2**40, boot="9f3a61c2")
    letter = dead_letter("schema", "😀", origin="mqtt:x", raw=b"\x00\xff", received_at_ms=T0_MS)
    batch = fold_records(
        {READINGS: stored([reading(up_ms=5), poison()]), reports: stored([says], 4), letters: stored([letter], 9)}
    )
    told = store.commit(batch, positions)
    assert told == {"socket": (T0_MS, True, "9f3a61c2", "1.4.0 ü😀", 2**40, False)}
    tables = dump(engine)
    ref = device_ref_of("socket")
    assert tables["boots"] == [(ref, 0x9F3A61C2, T0_MS - 5)]
    assert tables["dirty_buckets"] == [(ref, T0_MS - T0_MS % QUARTER_MS)]
    assert tables["devices"] == [(ref, "socket", T0_MS, 1, T0_MS, "9f3a61c2", "1.4.0 ü😀", 2**40)]
    assert [row[0:3] for row in tables["dead_letters"]] == [("dead-letters", 2, 9), ("readings", 0, 1)]
    assert tables["dead_letters"][0][8:] == ("😀", "mqtt:x", b"\x00\xff")
    assert len(tables["readings"]) == len(tables["device_reports"]) == 1
    assert [row[4] for row in tables["consumer_positions"]] == [10, 2, 5]


def _presences_after(engine: Engine, clock: MovableClock, *batches: list[PresenceChanged]) -> Presence:
    """The presence of the socket after these batches, as the store tells it."""
    store, reports = Store(engine, LIVE, GROUP, clock), (REPORTS_TOPIC, 0)
    positions, offset = begun(store, reports), 0
    for events in batches:
        told = store.commit(fold_records({reports: stored(events, offset)}), positions)
        offset += len(events)
        positions[reports] = positions[reports]._replace(next_offset=offset)
    return told["socket"]


ONLINE = presence(boot="9f3a61c2", firmware="1.4.0", config=7)
GONE = presence(online=False, at_ms=T0_MS + 5)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_last_will_leaves_what_the_device_said_before(engine: Engine, clock: MovableClock, at_once: bool) -> None:
    batches = [[ONLINE, GONE]] if at_once else [[ONLINE], [GONE]]
    assert _presences_after(engine, clock, *batches) == (T0_MS + 5, False, "9f3a61c2", "1.4.0", 7, False)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("before", "kept", "heard_at_ms"),
    [
        ([ONLINE], {}, T0_MS),
        ([ONLINE], {"boot": None, "firmware": None, "config": None}, T0_MS),
        ([ONLINE], {"config": 8}, T0_MS + 9),
        ([ONLINE], {"online": False}, T0_MS + 9),
        ([ONLINE, GONE], {}, T0_MS + 9),
        ([ONLINE, GONE], {"online": False}, T0_MS + 5),
        ([], {}, T0_MS + 9),
    ],
)
def test_what_the_broker_kept_counts_only_if_it_is_news(
    engine: Engine,
    clock: MovableClock,
    before: list[PresenceChanged],
    kept: dict[str, Any],
    heard_at_ms: int,
    at_once: bool,
) -> None:
    retained = msgspec.structs.replace(ONLINE, received_at=to_instant(T0_MS + 9), retained=True, **kept)
    batches = [[*before, retained]] if at_once else [*([one] for one in before), [retained]]
    found = _presences_after(engine, clock, *batches)
    assert (found.received_at_ms, found.online, found.config) == (
        heard_at_ms,
        kept.get("online", True),
        kept.get("config") or 7,
    )


def test_a_second_worker_at_the_same_position_is_fenced_and_writes_nothing(engine: Engine, clock: MovableClock) -> None:
    one, other = Store(engine, LIVE, GROUP, clock), Store(engine, LIVE, GROUP, clock)
    positions = begun(one, READINGS)
    one.commit(batch_of(reading(seq=1)), positions)
    before = dump(engine)
    with pytest.raises(PositionFenced):
        other.commit(batch_of(reading("intruder", seq=2)), positions)
    assert dump(engine) == before


def test_a_transaction_whose_owner_stands_still_does_not_hold_up_the_next(engine: Engine, clock: MovableClock) -> None:
    """As when a projector is frozen in the middle of a commit; SQLite cannot do that: its lock lasts until he wakes."""
    if "sqlite" in str(engine.url):
        pytest.skip("SQLite's lock is its owner's until the end")
    frozen = Store(engine, LIVE, GROUP, clock)
    positions = begun(frozen, READINGS)
    with engine.connect() as still:
        still.execute(LIVE.consumer_positions.update().values(next_offset=LIVE.consumer_positions.c.next_offset + 0))
        Store(engine, LIVE, GROUP, clock).commit(batch_of(reading()), positions)
        with pytest.raises(DBAPIError):
            still.commit()
            still.execute(LIVE.consumer_positions.select())
    assert len(dump(engine)["readings"]) == 1


def test_tables_rebuilt_to_the_same_offset_fence_all_the_same(engine: Engine, clock: MovableClock) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    positions[READINGS] = positions[READINGS]._replace(generation="another")
    with pytest.raises(PositionFenced):
        store.commit(batch_of(reading()), positions)


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_between_any_two_steps_leaves_nothing_and_the_next_try_completes(
    engine: Engine, clock: MovableClock, step: str
) -> None:
    def crash(reached: str) -> None:
        if reached == step:
            raise Killed

    store = Store(engine, LIVE, GROUP, clock, on_step=crash)
    positions = begun(store, READINGS)
    before = dump(engine)
    batch = batch_of(reading(up_ms=7), reading(seq=1))
    with pytest.raises(Killed):
        store.commit(batch, positions)
    assert dump(engine) == before
    Store(engine, LIVE, GROUP, clock).commit(batch, positions)
    tables = dump(engine)
    assert len(tables["readings"]) == 2 and len(tables["boots"]) == 1 and len(tables["dirty_buckets"]) == 1


def test_a_crash_after_the_commit_is_fenced_on_the_next_try(engine: Engine, clock: MovableClock) -> None:
    def crash(reached: str) -> None:
        if reached == "committed":
            raise Killed

    store = Store(engine, LIVE, GROUP, clock, on_step=crash)
    positions = begun(store, READINGS)
    with pytest.raises(Killed):
        store.commit(batch_of(reading()), positions)
    with pytest.raises(PositionFenced):
        store.commit(batch_of(reading()), positions)
    with engine.begin() as connection:
        assert read_positions(connection, LIVE, GROUP)[READINGS].next_offset == 1


def test_an_open_bucket_is_marked_once_and_a_closed_one_every_time(engine: Engine, clock: MovableClock) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    bucket = clock.at_ms - clock.at_ms % QUARTER_MS
    for seq, at_ms in enumerate((bucket, bucket + 1, bucket + 2)):
        if seq == 2:
            clock.at_ms = bucket + QUARTER_MS
        if seq:
            with engine.begin() as connection:
                connection.execute(LIVE.dirty_buckets.delete())
        store.commit(batch_of(reading(seq=seq, at_ms=at_ms), offset=seq), positions)
        positions[READINGS] = positions[READINGS]._replace(next_offset=seq + 1)
        assert len(dump(engine)["dirty_buckets"]) == (0 if seq == 1 else 1)


def test_open_buckets_are_left_and_closed_ones_recomputed_with_their_successors(
    engine: Engine, clock: MovableClock
) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    first = T0_MS - T0_MS % QUARTER_MS
    clock.at_ms = first + 3 * QUARTER_MS + 5
    events = [reading(seq=n, at_ms=first + n * QUARTER_MS, energy_wh=float(n)) for n in (0, 2, 3)]
    store.commit(batch_of(*events), positions)
    assert recompute_closed(engine, LIVE, UTC, clock) == 1, "the second has ended, but not 10 s ago"
    clock.at_ms += 10_000
    assert recompute_closed(engine, LIVE, UTC, clock) == 1
    late = reading(seq=1, at_ms=first + QUARTER_MS, energy_wh=1.5)
    store.commit(batch_of(late, offset=3), {READINGS: positions[READINGS]._replace(next_offset=3)})
    while recompute_closed(engine, LIVE, UTC, clock):
        pass
    tables = dump(engine)
    rows = fold_records({READINGS: stored([*events[:2], late])}).readings
    assert tables["rollups_15m"] == [tuple(row) for row in fold_buckets(rows)]
    assert [row[6] for row in tables["rollups_15m"]] == [0, 1500, 500]
    assert tables["dirty_buckets"] == [(device_ref_of("socket"), first + 3 * QUARTER_MS)]


def test_a_late_reading_reaches_the_next_counter_beyond_readings_without_one(
    engine: Engine, clock: MovableClock
) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    first = T0_MS - T0_MS % QUARTER_MS
    clock.at_ms = first + 9 * QUARTER_MS
    counters = {0: 0.0, 1: 1.0, 2: None, 3: 3.0}
    events = [reading(seq=n, at_ms=first + n * QUARTER_MS, energy_wh=wh) for n, wh in counters.items()]
    store.commit(batch_of(events[0], *events[2:]), positions)
    assert recompute_closed(engine, LIVE, UTC, clock) == 3
    store.commit(batch_of(events[1], offset=3), {READINGS: positions[READINGS]._replace(next_offset=3)})
    while recompute_closed(engine, LIVE, UTC, clock):
        pass
    assert [row[6] for row in dump(engine)["rollups_15m"]] == [0, 1000, None, 2000]


def test_a_reading_that_comes_while_its_bucket_is_recomputed_is_not_missed(engine: Engine, clock: MovableClock) -> None:
    """Two writers at full speed on few buckets, and a recomputer: in the end every rollup is right."""
    store = Store(engine, LIVE, GROUP, clock)
    partitions = [("wattaway.readings.v1", n) for n in range(2)]
    positions = begun(store, *partitions)
    errors: list[BaseException] = []
    stop = threading.Event()

    def write(n: int) -> None:
        mine = Store(engine, LIVE, GROUP, clock)
        held = {partitions[n]: positions[partitions[n]]}
        for seq in range(25):
            event = reading(f"socket-{n}", seq, T0_MS + seq * 1000 * 60 * (seq % 3), energy_wh=seq / 10)
            batch = fold_records({partitions[n]: stored([event], seq)})
            while True:
                try:
                    mine.commit(batch, held)
                    break
                except DependencyUnavailable:
                    continue
            held[partitions[n]] = held[partitions[n]]._replace(next_offset=seq + 1)

    def recompute() -> None:
        while not stop.is_set():
            try:
                recompute_closed(engine, LIVE, UTC, clock)
            except DependencyUnavailable:
                continue

    def guarded(work: object, *arguments: int) -> None:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=guarded, args=(write, n)) for n in range(2)]
    recomputers = [threading.Thread(target=guarded, args=(recompute,)) for _ in range(2)]
    for thread in writers + recomputers:
        thread.start()
    for thread in writers:
        thread.join(60)
    stop.set()
    for thread in recomputers:
        thread.join(60)
    while recompute_closed(engine, LIVE, UTC, clock):
        pass
    assert errors == []
    tables = dump(engine)
    assert len(tables["readings"]) == 50
    assert tables["rollups_15m"] == [tuple(row) for row in fold_buckets(tables["readings"])]


def test_a_surrogate_that_belongs_to_another_device_is_found(
    engine: Engine, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    monkeypatch.setattr("projections.folds.device_ref_of", lambda device_id: 7)
    store.commit(batch_of(reading("first")), positions)
    before = dump(engine)
    held = {READINGS: positions[READINGS]._replace(next_offset=1)}
    with pytest.raises(DeviceRefTaken) as caught:
        store.commit(batch_of(reading("second"), offset=1), held)
    assert caught.value.device_ids == {"second"} and dump(engine) == before
    refused = fold_records({READINGS: stored([reading("second")], 1)}, refused=caught.value.device_ids)
    store.commit(refused, held)
    assert [row[7] for row in dump(engine)["dead_letters"]] == ["device_ref"]


def test_a_topic_made_anew_is_refused(engine: Engine, clock: MovableClock) -> None:
    positions = begun(Store(engine, LIVE, GROUP, clock), READINGS)
    check_topic_ids(positions, {READINGS[0]: "an-id"}, [READINGS])
    with pytest.raises(LogReplaced, match="made anew"):
        check_topic_ids(positions, {READINGS[0]: "another"}, [READINGS])


def test_swapped_tables_take_the_live_names_and_the_next_swap_works_too(engine: Engine, clock: MovableClock) -> None:
    fresh, retired = read_model("rebuild"), read_model("retired")
    for n in range(2):
        with engine.begin() as connection:
            create_generation(connection, fresh, T0_MS)
        store = Store(engine, fresh, GROUP, clock)
        store.commit(batch_of(*(reading(seq=seq) for seq in range(n + 1))), begun(store, READINGS))
        _swap(engine, fresh, retired)
        with engine.begin() as connection:
            drop_generation(connection, retired)
        assert len(dump(engine)["readings"]) == n + 1
    test_the_migrated_schema_is_that_of_the_tables(engine)


def test_a_swap_that_a_reader_holds_up_succeeds_once_that_one_is_gone(engine: Engine, clock: MovableClock) -> None:
    if not is_mysql(engine):
        pytest.skip("SQLite's readers hold nobody up")
    fresh, retired = read_model("rebuild"), read_model("retired")
    with engine.begin() as connection:
        create_generation(connection, fresh, T0_MS)
    reader = snapshot_engine(engine.url.render_as_string(hide_password=False))
    with reader.connect() as held:
        read_positions(held, LIVE, GROUP)
        with pytest.raises(DependencyUnavailable, match="Lock wait"), translated_errors():
            _swap(engine, fresh, retired)
    _swap(engine, fresh, retired)
    reader.dispose()
    with engine.begin() as connection:
        drop_generation(connection, retired)
    test_the_migrated_schema_is_that_of_the_tables(engine)


def _swap(engine: Engine, fresh: ReadModel, retired: ReadModel) -> None:
    with engine.begin() as connection:
        swap_generations(connection, LIVE, fresh, retired)


def test_a_snapshot_does_not_see_what_is_committed_after_it(engine: Engine, clock: MovableClock) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    reader = snapshot_engine(engine.url.render_as_string(hide_password=False))
    with reader.connect() as connection:
        held = read_positions(connection, LIVE, GROUP)
        store.commit(batch_of(reading()), positions)
        assert connection.execute(text("SELECT COUNT(*) FROM readings")).scalar() == 0
        assert read_positions(connection, LIVE, GROUP) == held
    reader.dispose()


def test_no_reading_is_refused_for_its_time_and_months_are_made_ahead(engine: Engine, clock: MovableClock) -> None:
    store = Store(engine, LIVE, GROUP, clock)
    positions = begun(store, READINGS)
    times = (0, T0_MS, 4_102_444_800_000)
    store.commit(batch_of(*(reading(seq=n, at_ms=at_ms) for n, at_ms in enumerate(times))), positions)
    far_ms = 2_000_000_000_000
    with engine.begin() as connection:
        made = add_partitions(connection, LIVE, far_ms)
        again = add_partitions(connection, LIVE, far_ms)
    assert (len(made) > 3 if is_mysql(engine) else not made) and not again
    assert [row[1] for row in dump(engine)["readings"]] == list(times)


def test_a_database_out_of_reach_is_told_as_such() -> None:
    engine = write_engine("mysql+pymysql://nobody@127.0.0.1:1/none")
    with pytest.raises(DependencyUnavailable, match="database is unavailable"):
        Store(engine, LIVE, GROUP, MovableClock()).commit(batch_of(reading()), {})
    engine.dispose()
