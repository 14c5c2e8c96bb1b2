"""What a trace file says reaches the read models: its instants (moved and paced), power, voltage and counter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine, select

from ops.replay import boot_of
from projections.tables import read_model
from tests.bridge_run import now_ms, running_bridge
from tests.projection_records import append
from tests.projector_run import running as running_projector
from tests.projector_run import until_there
from tests.replay_command import replay
from tests.servers import World

_ROOT = Path(__file__).parents[2]
_HOUR_MS = 3_600_000


class Row(NamedTuple):
    """A stored reading."""

    device_id: str
    at_ms: int
    power_mw: int
    voltage_mv: int | None
    energy_mwh: int | None
    seq: int
    boot: str


def _stored(world: World) -> tuple[list[Row], list[int]]:
    """The readings in order of their instants, and when the bridge received each."""
    model = read_model()
    readings, devices = model.readings.c, model.devices.c
    columns = (readings.measured_at_ms, readings.power_mw, readings.voltage_mv, readings.energy_mwh, readings.seq)
    joined = model.readings.join(model.devices, readings.device_ref == devices.device_ref)
    query = select(devices.device_id, *columns, readings.boot, readings.received_at_ms).select_from(joined)
    engine = create_engine(world.settings.resolved_database_url())
    try:
        with engine.connect() as connection:
            found = connection.execute(query.order_by(readings.measured_at_ms)).all()
    finally:
        engine.dispose()
    return [Row(*row[:6], f"{row[6]:08x}") for row in found], [row[7] for row in found]


async def test_a_paced_and_shifted_trace_is_stored_with_its_voltage_counter_and_moved_instants(
    embedded_world: World, tmp_path: Path
) -> None:
    world, kettle, lamp = embedded_world, embedded_world.device_id("kettle"), embedded_world.device_id("lamp")
    began_at_ms = now_ms() // 1000 * 1000 - _HOUR_MS
    lines = ("0,{0},2000.5,230.15,17250.5", "4,{1},7,,", "10,{0},1999,229.9,17256.055", "20,{1},3600,231,")
    path = tmp_path / "trace.csv"
    with path.open("w") as file:
        print("ts,device_id,power_w,voltage_v,energy_wh", file=file)
        for line in lines:
            after_s, rest = line.format(kettle, lamp).split(",", 1)
            print(began_at_ms + int(after_s) * 1000, rest, sep=",", file=file)

    await append(world, [])  # The topics are there.
    async with running_bridge(world), running_projector(world):
        started_at_ms = now_ms()
        done = await asyncio.to_thread(replay, world, path, "--speed", "20", "--shift", "-90m")
        assert done.returncode == 0, done.stdout + done.stderr
        await until_there(world, 4)
    stored, received_at_ms = await asyncio.to_thread(_stored, world)

    first_ms = began_at_ms - 90 * 60_000
    boots = {device_id: boot_of(device_id, -90 * 60_000) for device_id in (kettle, lamp)}
    # The kettle's counter is its meter's; the lamp has none, so it is the integral of its power: 7 W for 16 s.
    expected = [
        (kettle, 0, 2_000_500, 230_150, 17_250_500),
        (lamp, 4_000, 7_000, None, 0),
        (kettle, 10_000, 1_999_000, 229_900, 17_256_055),
        (lamp, 20_000, 3_600_000, 231_000, 31),
    ]
    assert stored == [
        Row(device_id, first_ms + after_ms, power_mw, voltage_mv, energy_mwh, first_ms + after_ms, boots[device_id])
        for device_id, after_ms, power_mw, voltage_mv, energy_mwh in expected
    ]
    for (_, after_ms, *_), at_ms in zip(expected, received_at_ms, strict=True):
        # Whole milliseconds of another process's clock.
        assert at_ms - started_at_ms >= after_ms / 20 - 2
