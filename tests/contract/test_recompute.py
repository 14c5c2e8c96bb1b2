"""Rollups on SQLite and on MariaDB, when sockets and projectors do what they should not."""

from __future__ import annotations

import subprocess
import sys
from zoneinfo import ZoneInfo

import psutil
import pytest
from sqlalchemy import Engine

from domain.wire import MAX_ENERGY_MWH
from projections.all_rollups import compute_all_rollups
from projections.dialect import insert_new, write_engine
from projections.folded import Row
from projections.recompute import recompute_closed
from projections.rollups import QUARTER_MS
from projections.schema import migrate
from projections.tables import read_model
from tests.plain_buckets import fold_buckets
from tests.projection_records import T0_MS, MovableClock, dump
from tests.servers import World
from tests.waiting import until

UTC = ZoneInfo("UTC")
LIVE = read_model()
AT_MS = T0_MS - T0_MS % QUARTER_MS
LATER = MovableClock(AT_MS + 10 * QUARTER_MS)


def test_no_counter_that_a_socket_may_send_stops_the_rollups(engine: Engine) -> None:
    counters = [(0, 0), (1_000, MAX_ENERGY_MWH), (2_000, 0), (60_000, 5_000_000_000_000), (61_000, 5_000_000_000_002)]
    rows = [_row(1, AT_MS + after_ms, seq, mwh) for seq, (after_ms, mwh) in enumerate(counters)]
    rows += [_row(1, 0, 9, 0), _row(2, AT_MS, 0, 7), _row(2, AT_MS + 1_000, 1, 8)]
    _store(engine, rows)
    while recompute_closed(engine, LIVE, UTC, LATER):
        pass
    tables = dump(engine)
    assert not tables["dirty_buckets"]
    assert tables["rollups_15m"] == [tuple(row) for row in fold_buckets(rows)]
    with engine.begin() as connection:
        for table in (LIVE.rollups_15m, LIVE.rollups_1h, LIVE.rollups_1d):
            connection.execute(table.delete())
    compute_all_rollups(engine, LIVE, UTC)
    assert dump(engine) == tables


@pytest.mark.stack
async def test_a_projector_that_is_frozen_in_its_rollups_loses_them_to_another(stack_world: World) -> None:
    url = stack_world.settings.resolved_database_url()
    migrate(url)
    engine = write_engine(url)
    _store(engine, [_row(1, AT_MS, 0, 7)])
    frozen = subprocess.Popen([sys.executable, "-c", _FREEZES, url], stdout=subprocess.PIPE, text=True)
    try:
        process = psutil.Process(frozen.pid)
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        await until(lambda: recompute_closed(engine, LIVE, UTC, LATER) == 1)
        _store(engine, [_row(1, AT_MS + 1, 1, 8)])
        process.resume()
        assert frozen.communicate(timeout=30)[0] == "0\n"
    finally:
        frozen.kill()
        frozen.wait()
    assert recompute_closed(engine, LIVE, UTC, LATER) == 1, "who woke up has taken the mark"
    engine.dispose()


_FREEZES = """
import os, signal, sys
from zoneinfo import ZoneInfo
from projections import recompute
from projections.dialect import write_engine
from projections.tables import read_model
from tests.contract.test_recompute import LATER

recompute._FROZEN_S = 1

def go_on():
    os.kill(os.getpid(), signal.SIGSTOP)
    return True

print(recompute.recompute_closed(write_engine(sys.argv[1]), read_model(), ZoneInfo("UTC"), LATER, go_on=go_on))
"""


def _row(device_ref: int, at_ms: int, seq: int, energy_mwh: int) -> Row:
    return (device_ref, at_ms, 1, seq, at_ms + 50, 5_000, None, None, energy_mwh, None, None, None)


def _store(engine: Engine, rows: list[Row]) -> None:
    with engine.begin() as connection:
        insert_new(connection, LIVE.readings, rows)
        insert_new(connection, LIVE.dirty_buckets, sorted({(row[0], row[1] - row[1] % QUARTER_MS) for row in rows}))
