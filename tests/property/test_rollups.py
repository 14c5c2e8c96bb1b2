"""Rollups, by SQL and set-wise, equal a brute force; read models do not depend on how the log is cut into batches."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from domain.events import ReadingRecorded
from projections.all_rollups import compute_all_rollups
from projections.days import day_of
from projections.dialect import insert_new, write_engine
from projections.folds import fold_records
from projections.recompute import recompute_closed
from projections.rollups import bucket_rows
from projections.schema import create_generation
from projections.store import Store
from projections.tables import device_ref_of, read_model
from tests.plain_buckets import fold_buckets
from tests.projection_records import GROUP, READINGS, MovableClock, begun, dump, reading, stored

BERLIN = ZoneInfo("Europe/Berlin")
QUARTER_MS = 900_000
# Around both changes of the clocks of 2025 in Berlin.
STARTS_MS = [
    int(datetime(2025, 3, 29, 22, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2025, 10, 25, 21, tzinfo=UTC).timestamp()) * 1000,
]
LATER_MS = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1000


@contextmanager
def fresh_database() -> Iterator[Engine]:
    """An empty generation in a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        engine = write_engine(f"sqlite:///{folder}/read.db")
        try:
            with engine.begin() as connection:
                create_generation(connection, read_model(), 0)
            yield engine
        finally:
            engine.dispose()


@st.composite
def histories(draw: st.DrawFn) -> list[ReadingRecorded]:
    """Readings of two sockets with resets, gaps, impossible jumps, missing counters, equal instants and two boots."""
    events = []
    for device in ("a", "b"):
        at_ms = draw(st.sampled_from(STARTS_MS))
        counter_mwh = draw(st.integers(0, 10**9))
        for seq in range(draw(st.integers(0, 14))):
            at_ms += draw(st.sampled_from([0, 1, 10_000, 60_000, 899_999, 900_000, 3_600_000, 30_000_000]))
            counter_mwh = draw(
                st.sampled_from([0, counter_mwh, counter_mwh + 1, counter_mwh + 50, counter_mwh + 10**8])
            )
            known = draw(st.booleans()) or draw(st.booleans())
            boot = draw(st.sampled_from(["00000001", "ffffffff"]))
            power_w = draw(st.integers(0, 8_000_000)) / 1000
            events.append(
                reading(device, seq, at_ms, boot=boot, power_w=power_w, energy_wh=counter_mwh / 1000 if known else None)
            )
    return events


def brute_force(events: list[ReadingRecorded], starts_of: Any) -> dict[tuple[str, int], list[Any]]:
    """The buckets told in the plainest way, without any code of the projections."""
    buckets: dict[tuple[str, int], list[Any]] = {}
    for device in ("a", "b"):
        ordered = sorted(
            (event for event in events if event.device_id == device), key=lambda e: (e.measured_at, e.boot, e.seq)
        )
        earlier = None
        for event in ordered:
            at_ms = round(event.measured_at.timestamp() * 1000)
            power, energy = round(event.power_w * 1000), None
            if event.energy_wh is not None:
                energy = 0
                if earlier is not None:
                    step = round(event.energy_wh * 1000) - round(earlier.energy_wh * 1000)
                    hours = (event.measured_at - earlier.measured_at) / timedelta(hours=1)
                    energy = step if 0 < step <= 8_000_000 * hours + 1e-6 else 0
                earlier = event
            bucket = buckets.setdefault((device, starts_of(at_ms)), [0, 0, power, power, None, at_ms, at_ms])
            bucket[0] += 1
            bucket[1] += power
            bucket[2] = min(bucket[2], power)
            bucket[3] = max(bucket[3], power)
            if energy is not None:
                bucket[4] = (bucket[4] or 0) + energy
            bucket[6] = at_ms
    return buckets


def local_midnight(at_ms: int) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, BERLIN)
    return round(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp() * 1000)


def expected_rows(events: list[ReadingRecorded], starts_of: Any) -> list[tuple[Any, ...]]:
    rows = brute_force(events, starts_of)
    return sorted((device_ref_of(device), at_ms, *cells) for (device, at_ms), cells in rows.items())


def check_rollups(tables: dict[str, list[Any]], events: list[ReadingRecorded]) -> None:
    assert tables["rollups_15m"] == expected_rows(events, lambda at: at - at % QUARTER_MS)
    assert tables["rollups_1h"] == expected_rows(events, lambda at: at - at % 3_600_000)
    assert tables["rollups_1d"] == expected_rows(events, lambda at: local_midnight(at - at % QUARTER_MS))


@given(events=histories(), at_once=st.sampled_from([1, 2, 5, 50_000]))
@settings(max_examples=60, deadline=None)
def test_all_rollups_at_once_equal_a_brute_force(events: list[ReadingRecorded], at_once: int) -> None:
    rows = fold_records({READINGS: stored(events)}).readings
    with fresh_database() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.all_rollups._READINGS_PER_CHUNK", at_once)
        with engine.begin() as connection:
            insert_new(connection, read_model().readings, rows)
        compute_all_rollups(engine, read_model(), BERLIN)
        check_rollups(dump(engine), events)
    assert [tuple(row) for row in fold_buckets(rows)] == expected_rows(events, lambda at: at - at % QUARTER_MS)


def test_others_may_write_while_a_long_history_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live projector, beside a rebuild on SQLite, which has one writer."""
    monkeypatch.setattr("projections.all_rollups._READINGS_PER_CHUNK", 10)
    events = [reading("a", seq, STARTS_MS[0] + seq * 225_000) for seq in range(400)]
    computed = [0]
    over = threading.Event()
    with fresh_database() as engine:
        with engine.begin() as connection:
            insert_new(connection, read_model().readings, fold_records({READINGS: stored(events)}).readings)

        def write() -> None:
            while not over.is_set():
                with engine.begin() as connection:
                    computed.append(connection.execute(text("SELECT TOTAL(readings) FROM rollups_15m")).scalar_one())

        other = threading.Thread(target=write)
        other.start()
        compute_all_rollups(engine, read_model(), BERLIN)
        over.set()
        other.join()
    assert len(set(computed)) > 10, "of 50 pieces"


@given(events=histories(), seed=st.integers(0, 2**32), cuts=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_doubles_disorder_and_recomputing_in_between_give_the_same_read_models(
    events: list[ReadingRecorded], seed: int, cuts: int
) -> None:
    chance = random.Random(seed)
    log = [event for event in events for _ in range(chance.choice([1, 1, 3]))]
    chance.shuffle(log)
    with fresh_database() as engine:
        clock = MovableClock(LATER_MS)
        store = Store(engine, read_model(), GROUP, clock)
        positions = begun(store, READINGS)
        records = stored(log)
        size = max(len(records) // cuts, 1)
        for start in range(0, len(records), size):
            batch = fold_records({READINGS: records[start : start + size]})
            store.commit(batch, positions)
            positions[READINGS] = positions[READINGS]._replace(next_offset=batch.next_offsets[READINGS])
            if chance.random() < 0.6:
                recompute_closed(engine, read_model(), BERLIN, clock)
        while recompute_closed(engine, read_model(), BERLIN, clock):
            pass
        tables = dump(engine)
    assert tables["readings"] == sorted(set(fold_records({READINGS: stored(events)}).readings))
    assert not tables["dirty_buckets"]
    check_rollups(tables, events)


@given(events=histories(), from_quarter=st.integers(0, 60), quarters=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_buckets_of_a_range_are_those_of_the_whole(
    events: list[ReadingRecorded], from_quarter: int, quarters: int
) -> None:
    rows = fold_records({READINGS: stored(events)}).readings
    from_ms = STARTS_MS[0] + from_quarter * QUARTER_MS
    to_ms, ref = from_ms + quarters * QUARTER_MS, device_ref_of("a")
    with fresh_database() as engine, engine.begin() as connection:
        insert_new(connection, read_model().readings, rows)
        found = bucket_rows(connection, read_model(), ref, from_ms, to_ms)
    assert found == [row for row in fold_buckets(rows) if row.device_ref == ref and from_ms <= row.bucket_at_ms < to_ms]


@given(
    ups=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.integers(0, 10**6)), max_size=20),
    cut=st.integers(0, 20),
)
@settings(max_examples=25, deadline=None)
def test_undated_readings_get_the_same_time_however_the_log_is_cut(ups: list[tuple[str, int, int]], cut: int) -> None:
    events = [
        reading(device, seq, STARTS_MS[0] + n * 1000, boot=f"0000000{boot}", up_ms=up)
        for n, (seq, (device, boot, up)) in enumerate(enumerate(ups))
    ]
    outcomes = []
    for parts in ([events], [events[:cut], events[cut:]], [[event] for event in events]):
        with fresh_database() as engine:
            store = Store(engine, read_model(), GROUP, MovableClock(LATER_MS))
            positions = begun(store, READINGS)
            offset = 0
            for part in parts:
                batch = fold_records({READINGS: stored(part, offset)})
                offset += len(part)
                if part:
                    store.commit(batch, positions)
                    positions[READINGS] = positions[READINGS]._replace(next_offset=offset)
                    store.forget()
            outcomes.append(dump(engine))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize(("day", "hours"), [("2025-03-30", 23), ("2025-10-26", 25), ("2025-06-01", 24)])
def test_local_days_are_as_long_as_the_clocks_make_them(day: str, hours: int) -> None:
    noon_ms = round(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=BERLIN).timestamp() * 1000)
    start_ms, end_ms = day_of(noon_ms, BERLIN)
    assert end_ms - start_ms == hours * 3_600_000
    assert day_of(end_ms - 1, BERLIN) == (start_ms, end_ms) and day_of(end_ms, BERLIN)[0] == end_ms
