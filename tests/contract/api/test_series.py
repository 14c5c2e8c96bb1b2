"""Series: right against brute force at every resolution, whatever the rollups know already."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from api.buckets import Bucket
from tests.contract.api import series_oracle
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import BERLIN, ApiCorner, instant_ms, reading

HOUR_MS = 3_600_000
# Summer time ends in Berlin: this day has 25 hours.
LONG_DAY = ("2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z")


def day_of_readings(seed: int, *, from_ms: int, hours: float, interval_ms: int = 60_000) -> list[Any]:
    """A socket's readings with gaps, a counter that is reset, and members that are missing now and then."""
    rng = random.Random(seed)
    rows, energy = [], 5_000_000
    at_ms = from_ms
    while at_ms < from_ms + hours * HOUR_MS:
        power = rng.choice([400, 1_234, 98_200, 2_000_125])
        energy = 0 if rng.random() < 0.01 else energy + power * interval_ms // 3_600_000
        more = {"energy_mwh": energy, "voltage_mv": 230_100, "relay": rng.choice([0, 1, None]), "rssi_dbm": -61}
        rows.append(reading(at_ms, power, **(more if rng.random() < 0.95 else {})))
        at_ms += interval_ms if rng.random() > 0.01 else rng.randrange(2 * HOUR_MS)
    return rows


def as_points(buckets: Sequence[Bucket]) -> list[dict[str, Any]]:
    return [
        {
            "at": instant(bucket.bucket_at_ms),
            "power_mean_w": (2 * bucket.power_mw_sum + bucket.readings) // (2 * bucket.readings) / 1000,
            "power_min_w": bucket.power_mw_min / 1000,
            "power_max_w": bucket.power_mw_max / 1000,
            "energy_wh": None if bucket.energy_mwh is None else bucket.energy_mwh / 1000,
            "readings": bucket.readings,
        }
        for bucket in buckets
    ]


def instant(at_ms: int) -> str:
    from api.time_ranges import format_instant

    return format_instant(at_ms)


def expected(api: ApiCorner, device: str, resolution: str, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    buckets = api.quarters(device)
    if resolution != "15m":
        buckets = series_oracle.wide(buckets, BERLIN, days=resolution == "1d")
    return as_points([bucket for bucket in buckets if from_ms <= bucket.bucket_at_ms < to_ms])


@pytest.mark.parametrize("state", ["all clean", "all dirty", "late data since the rollup"])
@pytest.mark.parametrize("resolution", ["15m", "1h", "1d"])
async def test_buckets_equal_a_brute_force_recompute(api: ApiCorner, resolution: str, state: str) -> None:
    from_ms, to_ms = map(instant_ms, LONG_DAY)
    api.add_device("kettle")
    rows = day_of_readings(7, from_ms=from_ms - 5 * HOUR_MS, hours=34)
    late = rows[100:103] + rows[400:401] + rows[-20:] if state.startswith("late") else []
    api.add_readings("kettle", [row for row in rows if row not in late])
    if state != "all dirty":
        api.roll_up("kettle")
    if late:
        api.add_readings("kettle", late)
    answer = await api.get("devices/kettle/readings", resolution=resolution, **{"from": LONG_DAY[0], "to": LONG_DAY[1]})
    assert answer["points"] == expected(api, "kettle", resolution, from_ms, to_ms)
    assert answer["points"], "the range has readings"
    assert answer["next_cursor"] is None


async def test_a_late_last_reading_moves_energy_out_of_the_next_bucket(api: ApiCorner) -> None:
    """The next bucket is not marked dirty itself, but its first step of energy now begins at the late reading."""
    starts = NOW_MS // 900_000 * 900_000 - 4 * 900_000
    api.add_device("fridge")
    api.add_readings("fridge", [reading(starts + n, 1000, energy_mwh=n // 100) for n in (0, 300_000, 2_000_000)])
    api.roll_up("fridge")
    api.add_readings("fridge", [reading(starts + 600_000, 1000, energy_mwh=5_900)])
    answer = await api.get("devices/fridge/readings", resolution="15m", **{"from": "-3h"})
    assert [point["energy_wh"] for point in answer["points"]] == [5.9, 14.1]
    only_the_next = await api.get("devices/fridge/readings", resolution="15m", **{"from": instant(starts + 900_000)})
    assert [point["energy_wh"] for point in only_the_next["points"]] == [14.1]


async def test_a_day_of_25_hours_is_one_bucket_from_midnight_to_midnight(api: ApiCorner) -> None:
    from_ms, to_ms = map(instant_ms, LONG_DAY)
    api.add_device("router")
    api.add_readings("router", [reading(at, 5_000) for at in range(from_ms - HOUR_MS, to_ms + HOUR_MS, HOUR_MS // 4)])
    answer = await api.get(
        "devices/router/readings", resolution="1d", **{"from": "2026-10-25T12:00:00Z", "to": LONG_DAY[1]}
    )
    assert (answer["from"], answer["to"]) == LONG_DAY
    assert [(point["at"], point["readings"]) for point in answer["points"]] == [(LONG_DAY[0], 100)]


async def test_raw_readings_come_exactly_as_they_were_measured(api: ApiCorner) -> None:
    api.add_device("tv")
    full = reading(
        NOW_MS - 999,
        1,
        voltage_mv=230_101,
        current_ma=7,
        energy_mwh=9_999_999_999_999,
        relay=1,
        temperature_mc=-1_500,
        rssi_dbm=-90,
        boot=0x0000_00FF,
    )
    api.add_readings("tv", [full, reading(NOW_MS - 500, 8_000_000, relay=0)])
    points = (await api.get("devices/tv/readings", resolution="raw"))["points"]
    assert points[0] == {
        "at": instant(NOW_MS - 999),
        "power_w": 0.001,
        "voltage_v": 230.101,
        "current_a": 0.007,
        "energy_wh": 9_999_999_999.999,
        "relay": True,
        "temperature_c": -1.5,
        "rssi_dbm": -90,
        "boot": "000000ff",
        "seq": full.seq,
    }
    assert (points[1]["power_w"], points[1]["relay"], points[1]["energy_wh"]) == (8000, False, None)


@pytest.mark.parametrize(
    ("interval_s", "from_", "resolution"),
    [(60, "-24h", "raw"), (30, "-24h", "15m"), (60, "-20d", "1h"), (60, "-100d", "1d")],
)
async def test_auto_picks_the_finest_of_at_most_1500_points(
    api: ApiCorner, interval_s: int, from_: str, resolution: str
) -> None:
    api.add_device("lamp")
    step_ms = interval_s * 1000
    api.add_readings("lamp", [reading(NOW_MS - n * step_ms, 4_000) for n in range(1, 26 * 3600 // interval_s)])
    answer = await api.get("devices/lamp/readings", **{"from": from_})
    assert answer["resolution"] == resolution
    assert 0 < len(answer["points"]) <= 1500


async def test_pages_are_complete_and_hold_nothing_twice_while_data_arrives(api: ApiCorner) -> None:
    api.add_device("pump")
    first = [reading(NOW_MS - 1_000_000 + n * 1000, n, seq=n, boot=n % 3) for n in range(800)]
    first += [reading(NOW_MS - 500_000, n, seq=n, boot=9) for n in range(1000, 1100)]
    api.add_readings("pump", first)
    seen, cursor, page = [], None, 0
    while page == 0 or cursor is not None:
        parameters = {"resolution": "raw", "limit": 97, "from": "-1h"} | ({"cursor": cursor} if cursor else {})
        answer = await api.get("devices/pump/readings", **parameters)
        seen += [(point["at"], point["boot"], point["seq"]) for point in answer["points"]]
        cursor, page = answer["next_cursor"], page + 1
        api.clock.at_ms += 60_000
        api.add_readings("pump", [reading(NOW_MS - 1_000_000 + page, 1, seq=5000 + page), reading(api.clock.at_ms, 1)])
    assert page > 5
    assert seen == sorted(set(seen))
    asked = {(instant(row.measured_at_ms), f"{row.boot:08x}", row.seq) for row in first}
    assert asked <= set(seen)


async def test_bucket_pages_join_without_a_seam(api: ApiCorner) -> None:
    api.add_device("oven")
    api.add_readings("oven", day_of_readings(3, from_ms=NOW_MS - 30 * HOUR_MS, hours=29))
    whole = await api.get("devices/oven/readings", resolution="15m", **{"from": "-40h"})
    points, cursor = [], ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        answer = await api.get("devices/oven/readings", resolution="15m", limit=7, **{"from": "-40h"}, **more)
        points, cursor = points + answer["points"], answer["next_cursor"]
    assert points == whole["points"]


@pytest.mark.parametrize(
    ("resolution", "ends"), [("1h", "2100-01-01T00:00:00.000Z"), ("1d", "2100-01-01T23:00:00.000Z")]
)
async def test_pages_reach_the_end_of_the_last_bucket_that_can_be_asked_for(
    api: ApiCorner, resolution: str, ends: str
) -> None:
    api.add_device("clock")
    asked = {"resolution": resolution, "from": "2099-12-30T00:00:00Z", "to": "2100-01-01T00:00:00Z", "limit": 2}
    answer = await api.get("devices/clock/readings", **asked)
    while answer["next_cursor"] is not None:
        answer = await api.get("devices/clock/readings", **asked, cursor=answer["next_cursor"])
    assert answer["to"] == ends


async def test_csv_holds_the_whole_range_and_the_same_numbers(api: ApiCorner) -> None:
    api.add_device("heater")
    rows = day_of_readings(5, from_ms=NOW_MS - 6 * HOUR_MS, hours=5, interval_ms=2_500)
    api.add_readings("heater", rows)
    for resolution in ("raw", "15m"):
        parameters = {"from": "-6h", "resolution": resolution}
        answer = await api.client.get(
            "/api/v1/devices/heater/readings", params=parameters, headers={"Accept": "text/csv"}
        )
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        head, *lines = answer.text.removesuffix("\r\n").split("\r\n")
        names = head.split(",")
        points, cursor = [], ""
        while cursor is not None:
            page = await api.get(
                "devices/heater/readings", limit=5000, **parameters, **({"cursor": cursor} if cursor else {})
            )
            points, cursor = points + page["points"], page["next_cursor"]
        assert len(lines) == len(points) > 0
        parsed = [
            {name: _parsed(name, text) for name, text in zip(names, line.split(","), strict=True)} for line in lines
        ]
        assert parsed == points


def _parsed(name: str, text: str) -> object:
    """A CSV field as JSON has it."""
    if text in ("", "true", "false"):
        return {"": None, "true": True, "false": False}[text]
    return text if name in ("at", "boot") else float(text)


async def test_a_page_of_5000_full_readings_is_not_cut_off(api: ApiCorner) -> None:
    """MariaDB cuts a long GROUP_CONCAT silently unless it is told otherwise."""
    api.add_device("meter")
    more = {"voltage_mv": 230_123, "current_ma": 12_345, "energy_mwh": 9_999_999_999_999, "relay": 1}
    rows = [reading(NOW_MS - 5_000_000 + n * 1000, 2_839_123, **more) for n in range(5000)]
    api.add_readings("meter", rows)
    answer = await api.get("devices/meter/readings", resolution="raw", limit=5000)
    assert len(answer["points"]) == 5000
    assert answer["next_cursor"] is None


async def test_energy_is_never_invented_by_a_gap_or_a_reset(api: ApiCorner) -> None:
    starts = NOW_MS - 2 * HOUR_MS
    api.add_device("washer")
    counters = [(0, 1_000_000), (60_000, 1_000_500), (120_000, 200), (180_000, 700), (240_000, 900_000_000)]
    api.add_readings("washer", [reading(starts + at, 30_000, energy_mwh=counter) for at, counter in counters])
    answer = await api.get("devices/washer/readings", resolution="1h", **{"from": "-4h"})
    assert sum(point["energy_wh"] for point in answer["points"]) == pytest.approx(1.0)
