"""Daily statistics: local days, coverage, and what is remembered for ten minutes."""

from __future__ import annotations

from datetime import date

from api.schemas import Daily
from tests.contract.api import series_oracle
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import BERLIN, ApiCorner, instant_ms, reading

QUARTER_MS = 900_000


async def test_a_day_of_25_hours_is_covered_when_all_its_100_quarters_are(api: ApiCorner) -> None:
    starts, ends = instant_ms("2026-10-24T22:00:00Z"), instant_ms("2026-10-25T23:00:00Z")
    api.add_device("router")
    rows = [reading(at, 5_000, energy_mwh=(at - starts) // 1000) for at in range(starts, ends, QUARTER_MS)]
    api.add_readings("router", rows)
    answer = await api.get("devices/router/daily", **{"from": "2026-10-25", "to": "2026-10-25"})
    (day,) = answer["items"]
    assert (day["day"], day["readings"], day["coverage"]) == ("2026-10-25", 100, 1.0)
    assert (day["starts_at"], day["ends_at"]) == ("2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z")
    assert day["energy_wh"] == sum(b.energy_mwh or 0 for b in series_oracle.quarters(rows)) / 1000
    assert day["first_at"] == "2026-10-24T22:00:00.000Z"


async def test_days_equal_brute_force_clean_or_dirty(api: ApiCorner) -> None:
    api.add_device("fridge")
    rows = [reading(NOW_MS - n * 1_700_000, 1_000 * n, energy_mwh=1_000_000 - n * 900) for n in range(120)]
    api.add_readings("fridge", rows[20:])
    api.roll_up("fridge")
    api.add_readings("fridge", rows[:20])
    answer = await api.get("devices/fridge/daily", **{"from": "-9d"})
    Daily.model_validate(answer)
    days = series_oracle.wide(series_oracle.quarters(rows), BERLIN, days=True)
    told = [(day["energy_wh"], day["readings"], day["power_min_w"], day["power_max_w"]) for day in answer["items"]]
    assert told == [
        ((b.energy_mwh or 0) / 1000, b.readings, b.power_mw_min / 1000, b.power_mw_max / 1000) for b in days
    ]


async def test_todays_coverage_counts_only_the_quarters_so_far(api: ApiCorner) -> None:
    api.add_device("lamp")
    midnight = instant_ms("2026-10-25T23:00:00Z")
    api.add_readings("lamp", [reading(at, 1) for at in range(midnight, NOW_MS, 2 * QUARTER_MS)])
    (today,) = (await api.get("devices/lamp/daily", **{"from": "today"}))["items"]
    elapsed = -(-(NOW_MS - midnight) // QUARTER_MS)
    assert today["coverage"] == round(-(-elapsed // 2) / elapsed, 4)


async def test_days_that_are_over_are_remembered_and_today_is_not(api: ApiCorner) -> None:
    api.add_device("tv")
    yesterday_ms = NOW_MS - 24 * 3_600_000
    api.add_readings("tv", [reading(yesterday_ms, 1_000), reading(NOW_MS - 1_000, 1_000)])
    before = await api.get("devices/tv/daily")
    api.add_readings("tv", [reading(yesterday_ms + 1_000, 1_000), reading(NOW_MS - 500, 1_000)])
    remembered = await api.get("devices/tv/daily")
    assert [day["readings"] for day in remembered["items"]] == [1, 2]
    assert remembered["items"][0] == before["items"][0]
    key = f"{api.prefix}daily:Europe/Berlin:tv:2026-10-25"
    assert 590 <= await api.redis.ttl(key) <= 600
    await api.redis.delete(key)
    assert [day["readings"] for day in (await api.get("devices/tv/daily"))["items"]] == [2, 2]


async def test_days_that_cannot_be_are_refused(api: ApiCorner) -> None:
    api.add_device("tv")
    for wrong in ({"from": "2026-02-30"}, {"from": "yesterday"}, {"from": "2026-10-02", "to": "2026-10-01"}):
        problem = await api.get("devices/tv/daily", status=422, **wrong)
        assert problem["errors"][0]["parameter"] == "from"
    too_many = await api.get(
        "devices/tv/daily", status=422, **{"from": "2020-01-01", "to": date(2026, 1, 1).isoformat()}
    )
    assert "366 days" in too_many["detail"]
