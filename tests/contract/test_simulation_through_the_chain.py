"""`wattaway simulate` against the running chain: every reading measured is receipted, stored once and visible."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import create_engine, func, select

from ops.simulator.fleet import SimulationPlan, device_kinds
from ops.wiring import migrate
from projections.tables import read_model
from tests.servers import World

_ROOT = Path(__file__).parents[2]


def _simulate(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "simulate", *options],
        cwd=_ROOT,
        env={**os.environ, **world.broker_env},
        capture_output=True,
        text=True,
        timeout=100,
    )


def _stored(world: World) -> int:
    engine = create_engine(world.settings.resolved_database_url())
    try:
        with engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(read_model().readings)).scalar_one())
    finally:
        engine.dispose()


@pytest.mark.timeout(240)
def test_every_simulated_reading_is_receipted_stored_once_and_visible(world: World) -> None:
    prefix = f"sim{world.marker}"
    device_ids = [device_id for device_id, _kind in device_kinds(SimulationPlan(9, id_prefix=prefix))]
    migrate(world.settings)
    for role in ("bridge", "projector"):
        world.start_role(role)

    done = _simulate(world, "9", "--interval", "0.1", "--readings", "20", "--id-prefix", prefix)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"in the log \(receipt\)\W+180\b", done.stdout)
    assert re.search(r"outstanding\W+0\b", done.stdout)
    deadline = time.monotonic() + 30
    while _stored(world) < 180 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _stored(world) == 180
    with Redis.from_url(world.settings.resolved_redis_url()) as redis:
        while set(redis.hkeys(f"{world.settings.redis_prefix}latest")) != {one.encode() for one in device_ids}:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_sockets_that_are_not_let_in_are_named_and_the_exit_code_says_so(embedded_world: World) -> None:
    nobody = {"WATTAWAY_MQTT_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "simulate", "1", "--interval", "0.01", "--readings", "2", "--drain", "0.5"],
        cwd=_ROOT,
        env={**os.environ, **embedded_world.broker_env, **nobody},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stdout
    assert re.search(r"outstanding\W+2\b", done.stdout)
