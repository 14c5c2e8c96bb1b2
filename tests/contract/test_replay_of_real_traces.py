"""A day of real plugs, replayed through the whole chain: no reading lost, gaps kept, the day's energy right."""

from __future__ import annotations

import csv
import gzip
import json
import os
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from ops.figures import scrape
from ops.wiring import migrate
from projections.tables import read_model
from tests.owner import owner_headers
from tests.replay_command import replay
from tests.servers import World

_ROOT = Path(__file__).parents[2]
# Read before the fixtures empty the environment.
TRACEBASE = Path(os.environ.get("WATTAWAY_TRACEBASE_DIR", _ROOT.parent / "shared/data/tracebase"))
DAY_FILE = TRACEBASE / "day_2012-06-15_30s.csv.gz"
BERLIN = {"WATTAWAY_TIME_ZONE": "Europe/Berlin"}

needs_tracebase = pytest.mark.skipif(
    not DAY_FILE.is_file(),
    reason=f"no tracebase day in {TRACEBASE} (see http://www.tracebase.org; WATTAWAY_TRACEBASE_DIR says where)",
)


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def _start(world: World, *roles: str) -> None:
    migrate(world.settings)
    for role in roles:
        world.start_role(role, env=BERLIN)


def _wait_until_projected(world: World, readings: int, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        samples = scrape(world.settings.metrics_url("projector"))
        if sum(samples.get("wattaway_projector_readings_total", {}).values()) >= readings:
            return
        time.sleep(0.1)
    raise AssertionError(f"{readings} readings were not projected within {within_s} s")


def _stored_instants(world: World) -> dict[str, list[int]]:
    """When the stored readings were measured, ms, per device in order."""
    model, found = read_model(), defaultdict(list)
    engine = create_engine(world.settings.resolved_database_url())
    try:
        with engine.connect() as connection:
            joined = model.readings.join(model.devices, model.readings.c.device_ref == model.devices.c.device_ref)
            query = select(model.devices.c.device_id, model.readings.c.measured_at_ms).select_from(joined)
            for device_id, at_ms in connection.execute(query):
                found[device_id].append(at_ms)
    finally:
        engine.dispose()
    return {device_id: sorted(instants) for device_id, instants in found.items()}


def _day_energy_wh(world: World, device_id: str, day: str, headers: dict[str, str]) -> float:
    url = f"http://127.0.0.1:{world.settings.api_port}/api/v1/devices/{device_id}/daily?from={day}&to={day}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        (item,) = json.load(answer)["items"]
    assert item["day"] == day
    return float(item["energy_wh"])


@needs_tracebase
@pytest.mark.timeout(300)
@pytest.mark.long_on_stack
def test_a_real_day_arrives_whole_with_its_gaps_and_its_energy(world: World) -> None:
    instants, energy_wh = defaultdict(list), defaultdict(float)
    for row in _rows(DAY_FILE):
        instants[row["device_id"]].append(int(datetime.fromisoformat(row["ts"]).timestamp() * 1000))
        energy_wh[row["device_id"]] += float(row["wh"])
    _start(world, "bridge", "projector", "api")

    done = replay(world, DAY_FILE, "--speed", "max")
    assert done.returncode == 0, done.stdout + done.stderr
    _wait_until_projected(world, sum(map(len, instants.values())))

    assert _stored_instants(world) == instants
    headers = owner_headers(world, instants)
    for device_id, expected_wh in energy_wh.items():
        assert _day_energy_wh(world, device_id, "2012-06-15", headers) == pytest.approx(expected_wh, rel=0.02)


@pytest.mark.long_on_stack
def test_replaying_twice_changes_nothing_and_a_bad_line_only_itself(world: World, tmp_path: Path) -> None:
    kettle, lamp = world.device_id("kettle"), world.device_id("lamp")
    lines = ["ts,device_id,power_w,wh,comment"]
    lines += [f"{1_760_000_000 + 10 * n},{(kettle, lamp)[n % 2]},{n % 50},0.5,x" for n in range(400)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(lines) + "\n")
    _start(world, "bridge", "projector")

    assert replay(world, path).returncode == 0
    _wait_until_projected(world, 400)
    once = _stored_instants(world)
    assert {device_id: len(instants) for device_id, instants in once.items()} == {kettle: 200, lamp: 200}

    path.write_text("\n".join([*lines[:100], "soon,x,1,,", *lines[100:], f"1760009999,{lamp},5,0.5,new"]) + "\n")
    again = replay(world, path)
    assert again.returncode == 1
    assert "lines refused for ts" in again.stdout
    said = [json.loads(line) for line in again.stderr.splitlines() if line.startswith("{")]
    refused = [line for line in said if line["event"] == "trace line refused"]
    assert [(line["line"], line["column"]) for line in refused] == [(101, "ts")]
    _wait_until_projected(world, 801)
    twice = _stored_instants(world)
    assert twice[kettle] == once[kettle]
    assert twice[lamp] == [*once[lamp], 1_760_009_999_000]
